"""Conductance, internal influence, activations and expected gradients, in float64 against captum at layers."""

from __future__ import annotations

import captum.attr as captum
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    InternalInfluence,
    LayerActivation,
    LayerConductance,
)
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import logit

# each with a module in its middle that captum can hook, on networks whose modules are called once
LAYERS = {"mobilenet": "features.2", "branches": "three", "vit": "encoder.layers.encoder_layer_0", "swin": "features.1"}


@pytest.fixture(params=LAYERS)
def middle(request, cases):
    """A case, its network without in-place rectifiers, which captum's hooks would miss, and the layer."""
    case = cases[request.param]
    network = case.module.eval()
    for part in network.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    return case, network, LAYERS[request.param]


@pytest.fixture
def double(monkeypatch):
    """Captum rounds its weights and places to float32; here it may not."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def same(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-10 of the largest value."""
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 0
    assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max()


def test_activation_and_gradient_x_activation(middle):
    case, network, layer = middle
    module, objective = network.get_submodule(layer), logit(list(case.targets))
    same(LayerActivation()(case.flat, case.x, objective, wrt=layer).values, network_at(network, module, case.x))
    theirs = captum.LayerGradientXActivation(network, module).attribute(case.x, list(case.targets))
    same(InputXGradient()(case.flat, case.x, objective, wrt=layer).values, theirs.detach())


def network_at(network, module, x: Tensor) -> Tensor:
    return captum.LayerActivation(network, module).attribute(x).detach()


def test_the_activation_at_the_input_is_the_input(cases):
    case = cases["plain"]
    values = LayerActivation()(case.flat, case.x, logit(0)).values
    assert torch.equal(values, case.x) and values.data_ptr() != case.x.data_ptr()


def test_conductance_is_the_mean_of_captums_both_ways(middle, double):
    case, network, layer = middle
    baseline = torch.full_like(case.x, 0.1)
    theirs = captum.LayerConductance(network, network.get_submodule(layer))

    def one_sided(start: Tensor, end: Tensor) -> Tensor:
        # captum takes the gradient at the first end of each step; of its rules, this one has even steps to both ends
        return theirs.attribute(end, start, list(case.targets), n_steps=4, method="riemann_trapezoid").detach()

    there, back = one_sided(baseline, case.x), -one_sided(case.x, baseline)
    ours = LayerConductance(4, baselines=0.1)(case.flat, case.x, logit(list(case.targets)), wrt=layer).values
    same(ours, (there + back) / 2)
    assert (there - back).abs().max() > 1e-3 * ours.abs().max()


@pytest.mark.parametrize("name", ["vit", "plain", "branches"])
def test_conductance_of_a_layer_that_all_passes_through_is_complete(cases, name):
    case = cases[name]
    x, target = case.x[:1] / 4, case.targets[1]
    fall = (case.flat(x) - case.flat(torch.zeros_like(x)))[0, target]
    for wrt in ("input", case.family.middle):
        values = LayerConductance(400)(case.flat, x, logit(target), wrt=wrt).values
        assert_close(values.sum(), fall, rtol=5e-3, atol=0)


def test_conductance_at_the_input_is_integrated_gradients(cases):
    case = cases["plain"]
    conductance = LayerConductance(5)(case.flat, case.x, logit(1)).values
    trapezoid = IntegratedGradients(6, quadrature="riemann_trapezoid")(case.flat, case.x, logit(1)).values
    assert_close(conductance, trapezoid, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("quadrature", ["gausslegendre", "riemann_middle"])
def test_internal_influence(middle, quadrature, double):
    case, network, layer = middle
    theirs = captum.InternalInfluence(network, network.get_submodule(layer)).attribute(
        case.x, torch.full_like(case.x, 0.1), list(case.targets), n_steps=5, method=quadrature
    )
    method = InternalInfluence(5, baselines=0.1, quadrature=quadrature)
    same(method(case.flat, case.x, logit(list(case.targets)), wrt=layer).values, theirs.detach())


def test_internal_influence_at_the_input_is_the_mean_gradient(cases):
    case = cases["plain"]
    mean = IntegratedGradients(5, multiply=False)(case.flat, case.x, logit(1)).values
    assert_close(InternalInfluence(5)(case.flat, case.x, logit(1)).values, mean, rtol=1e-9, atol=1e-12)


@pytest.fixture
def baselines() -> Tensor:
    return torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


def pinned(monkeypatch, method: GradientShap, n: int, m: int) -> None:
    """Captum draws the numbers of our method; its rows are all draws of one sample, then all of the next."""
    places, chosen = method.draws(m)
    monkeypatch.setattr(np.random, "uniform", lambda *_: np.tile(places, n))
    monkeypatch.setattr(np.random, "choice", lambda *_: np.tile(chosen, n))


@pytest.mark.parametrize("at", ["input", "layer"])
@pytest.mark.parametrize("name", ["mobilenet", "vit"])
def test_gradient_shap_with_the_same_draws(cases, name, at, baselines, monkeypatch, double):
    case, network = cases[name], cases[name].module.eval()
    method = GradientShap(6, baselines, seed=3)
    pinned(monkeypatch, method, len(case.x), len(baselines))
    layer = LAYERS[name]
    theirs = (
        captum.GradientShap(network)
        if at == "input"
        else captum.LayerGradientShap(network, network.get_submodule(layer))
    )
    expected = theirs.attribute(case.x, baselines, n_samples=6, stdevs=0.0, target=list(case.targets))
    ours = method(case.flat, case.x, logit(list(case.targets)), wrt="input" if at == "input" else layer)
    same(ours.values, expected.detach())


def test_gradient_shap_of_one_baseline_nears_integrated_gradients(cases):
    case = cases["vit"]
    exact = IntegratedGradients(40, baselines=0.1)(case.flat, case.x, logit(2)).values

    def distance(n: int) -> float:
        values = GradientShap(n, baselines=0.1)(case.flat, case.x, logit(2)).values
        return float((values - exact).norm() / exact.norm())

    # one draw in each of n parts of the path: the error falls like n^-1.5, not like n^-0.5
    assert distance(400) < 3e-4 and distance(400) < distance(25) / 30


def test_gradient_shap_is_complete_over_its_baselines(cases, baselines):
    case = cases["vit"]
    values = GradientShap(400, baselines)(case.flat, case.x, logit(2)).values
    fall = case.flat(case.x)[:, 2] - case.flat(baselines)[:, 2].mean()
    assert_close(values.flatten(1).sum(1), fall, rtol=0.05, atol=0.01)


def test_the_noise_of_gradient_shap_is_a_fraction_of_the_range(cases):
    network = nn.Linear(4000, 1, bias=False).double()
    flat, weight = FlatModel.from_nn_Module(network), network.weight[0].detach()
    x = torch.rand(1, 4000, dtype=torch.float64) * 50
    # of a linear network, the values of one draw are weight * (x + noise)
    values = GradientShap(1, noise_level=0.2)(flat, x, logit(0)).values
    noise = values / weight - x
    assert_close(noise.std(), 0.2 * (x.max() - x.min()), rtol=0.05, atol=0)


def test_a_distribution_of_baselines_has_the_shape_of_inputs(cases):
    case = cases["plain"]
    with pytest.raises(NetLensError, match=r"baselines of shape \(3, 15\) are no distribution .* \(m, 3, 15, 20\)"):
        GradientShap(baselines=torch.zeros(3, 15))(case.flat, case.x, logit(0))
    for name, value in (("n_samples", 0), ("noise_level", -1)):
        with pytest.raises(NetLensError, match=f"{name} is {value}, but must be"):
            GradientShap(**{name: value})
