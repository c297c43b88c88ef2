"""The promises that every registered method keeps, on every family of networks: to be registered is to be tested."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import METHODS, Attribution, Method
from netlens.attribution.chunk import chunks_of
from netlens.errors import NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import channel, layer, logit, neuron

# what keeps small inputs interesting and tests fast, for the methods that have such an option
SMALL = {
    "n_steps": 5,
    "n_samples": 3,
    "n_masks": 6,
    "n_segments": 6,
    "grid_size": 3,
    "n_channels": 6,
    "window": 13,
    "stride": 9,
}


def small(name: str) -> Method:
    """The method with few steps and small windows."""
    made = METHODS[name]()
    has = {field.name for field in fields(made)}
    return replace(made, **{option: value for option, value in SMALL.items() if option in has})


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return small(request.param)


def explained(method: Method, case, flat=None, x=None, objective=None, **options) -> Attribution:
    """The method's answer; one that has no meaning for vectors or tokens says so, and is not tested on them.

    One that declares what it needs is refused just where the network has nothing of the kind.
    """
    flat, x = case.flat if flat is None else flat, case.x if x is None else x
    objective = logit(list(case.targets)) if objective is None else objective
    if lacks(method, case):
        with pytest.raises(NotApplicable, match=r"attention|\bmaps?\b"):
            method(flat, x, objective, **options)
        pytest.skip(f"{case.name} has no {method.needs}, and the method says so")
    try:
        return method(flat, x, objective, **options)
    except NotApplicable as refusal:
        if case.spatial and "wrt" not in options:
            raise
        pytest.skip(str(refusal))


def lacks(method: Method, case) -> bool:
    return method.needs is not None and method.needs not in case.family.has


def broken_in(method: Method, case) -> dict[str, str]:
    """Where to look for what breaks inside: the input itself stays whole, and some methods read nothing else."""
    only_the_input = not method.reads_objective and not lacks(method, case) and not _reads_a_layer(method, case)
    return {"wrt": case.family.late} if only_the_input else {}


def _reads_a_layer(method: Method, case) -> bool:
    return hasattr(method, "layer") or method.at(case.flat, case.x, "input") != "input"


def test_a_batch_equals_its_samples(method, case):
    whole = explained(method, case)
    for i, target in enumerate(case.targets):
        single = method(case.flat, case.x[i : i + 1], logit(target))
        assert_close(whole.values[i : i + 1], single.values, rtol=1e-9, atol=1e-11)
        assert whole[i].provenance.targets == single.provenance.targets == (target,)
    assert whole.values.abs().sum() > 0


def test_chunked_equals_unchunked(method, some):
    values = []
    for size in (1, 4, 1000):
        with chunks_of(size):
            values.append(explained(method, some).values)
    assert_close(values[0], values[1], rtol=1e-9, atol=1e-12)
    assert_close(values[0], values[2], rtol=1e-9, atol=1e-12)


def test_class_0_is_a_class_like_any_other(method, some):
    x = some.x[:1]
    network = _with_classes_moved(some.module)
    first, moved = (
        explained(method, some, FlatModel.from_nn_Module(m), x, logit(k)) for m, k in ((some.module, 0), (network, 1))
    )
    assert_close(first.values, moved.values, rtol=1e-9, atol=1e-12)
    assert torch.allclose(first.values, method(some.flat, x, logit(1)).values) != method.reads_objective


def _with_classes_moved(module: nn.Module) -> nn.Module:
    """The network with class 0 as its class 1, and so on."""
    moved = copy.deepcopy(module)
    head = [part for part in moved.modules() if isinstance(part, nn.Linear)][-1]
    with torch.no_grad():
        for tensor in (head.weight, head.bias):
            tensor.copy_(tensor.roll(1, 0))
    return moved


def test_frozen_models_no_grad_and_inference_mode_change_nothing(method, some):
    usual = explained(method, some).values
    frozen = FlatModel.from_nn_Module(copy.deepcopy(some.module).requires_grad_(False))
    assert torch.equal(explained(method, some, frozen).values, usual)
    with torch.no_grad():
        assert torch.equal(explained(method, some).values, usual)
    with torch.inference_mode():
        made_here = some.x.clone()
        assert torch.equal(explained(method, some, x=made_here).values, usual)
        assert torch.equal(explained(method, some, FlatModel.from_nn_Module(some.module)).values, usual)
    assert torch.equal(explained(method, some, x=made_here).values, usual)
    assert not usual.requires_grad and not usual.is_inference()


def test_float64_stays_and_autocast_is_near(method, case):
    exact = explained(method, case)
    assert exact.values.dtype == torch.float64
    network = FlatModel.from_nn_Module(copy.deepcopy(case.module).float())
    with torch.autocast("cpu", torch.bfloat16):
        cast = explained(method, case, network, case.x.float())
    assert cast.values.shape == exact.values.shape and torch.isfinite(cast.values).all()
    likeness = torch.cosine_similarity(cast.values.double().flatten(), exact.values.flatten(), 0)
    assert likeness > 0.8


def test_the_model_and_the_image_stay_as_they_were(method, case):
    module = copy.deepcopy(case.module)
    for parameter in list(module.parameters())[::2]:
        parameter.requires_grad_(False)
    module.train()
    before = _state(module)
    for x in (case.x.clone(), case.x.clone().requires_grad_()):
        wanted = x.requires_grad
        with contextlib.suppress(NotApplicable):
            method(FlatModel.from_nn_Module(module), x, logit(list(case.targets)))
        assert torch.equal(x, case.x) and x.grad is None and x.requires_grad == wanted
    assert _state(module).keys() == before.keys()
    assert all(torch.equal(now, before[name]) for name, now in module.state_dict().items())
    assert [_flags(p) for p in module.parameters()] == [before[f"flags {i}"] for i, _ in enumerate(module.parameters())]
    assert all(part.training and not part._forward_hooks and not part._backward_hooks for part in module.modules())


def _state(module: nn.Module) -> dict:
    flags = {f"flags {i}": _flags(parameter) for i, parameter in enumerate(module.parameters())}
    return {name: tensor.clone() for name, tensor in module.state_dict().items()} | flags


def _flags(parameter: Tensor) -> tuple:
    return parameter.requires_grad, parameter.grad, parameter._version


def test_the_same_seed_gives_the_same_bits(method, some):
    # at the last maps of a network that averages them the gradient is the same, whatever the input and its noise
    where = {"wrt": some.family.middle} if hasattr(method, "layer") else {}
    torch.manual_seed(1)
    first = explained(method, some, **where).values
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(explained(method, some, **where).values, first)
    assert torch.equal(torch.get_rng_state(), state)
    if hasattr(method, "seed"):
        assert not torch.allclose(explained(replace(method, seed=7), some, **where).values, first)


def test_nan_in_a_weight_names_the_layer(method, case):
    module = copy.deepcopy(case.module)
    flat = FlatModel.from_nn_Module(module)
    broken, weight = next(
        (key, weight) for key, part in list(flat.layers.items())[2:] for weight in part.parameters(recurse=False)
    )
    weight.view(-1)[0] = torch.nan
    with pytest.raises(NonFiniteError, match=rf"'{broken}'.* sample 0"):
        explained(method, case, flat, **broken_in(method, case))


def test_overflow_in_one_sample_names_the_sample(method, some):
    flat = FlatModel.from_nn_Module(copy.deepcopy(some.module).float())
    x = some.x.float()
    x[1] = x[1].sign() * 3e38
    with pytest.raises(NonFiniteError, match="for sample 1"):
        explained(method, some, flat, x, **broken_in(method, some))


def test_nan_in_the_input_names_the_sample(method, case):
    x = case.x.clone()
    x[2].view(-1)[0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"input .* sample 2"):
        explained(method, case, x=x)


def test_any_layer_and_any_objective(method, case):
    at = case.flat.key(case.family.middle)
    activation = case.flat(case.x, until=at)
    late = case.family.late
    objectives = [
        channel(late, 0),
        neuron(late, 1),
        layer(late),
        logit(0) + channel(late, 1),
        logit(0) - 0.5 * layer(at),
    ]
    for objective in objectives:
        result = explained(method, case, objective=objective, wrt=at)
        flat_maps = result.reduction == "cam"
        assert result.values.shape == activation.shape or (flat_maps and result.values.shape[:2] == (3, 1))
        assert result.provenance.layer == at and result.provenance.objective == repr(objective)
        assert torch.isfinite(result.values).all()
        if case.spatial:
            heat = result.heatmap()
            assert heat.shape == (3, 1, *case.x.shape[2:]) and heat.min() >= 0 and heat.max() <= 1


def test_an_objective_is_linear_in_its_terms(method, some):
    """Not for what squares, clips or takes magnitudes."""
    if type(method).__name__ not in (
        "InputGradient",
        "InputXGradient",
        "IntegratedGradients",
        "SmoothGradient",
        "Occlusion",
        "BlurIntegratedGradients",
        "DeepLift",
        "DeepLiftShap",
        "GradientShap",
        "InternalInfluence",
        "LayerConductance",
        "FeatureAblation",
        "KernelShap",
        "Lime",
        "ShapleyValueSampling",
    ):
        pytest.skip("not linear")
    parts = [
        explained(method, some, objective=objective).values for objective in (logit(0), channel(some.family.late, 2))
    ]
    whole = explained(method, some, objective=2 * logit(0) - channel(some.family.late, 2) / 4).values
    assert_close(whole, 2 * parts[0] - parts[1] / 4, rtol=1e-9, atol=1e-12)


def test_an_objective_before_the_layer_is_refused_in_one_line(method, case):
    if not method.reads_objective:
        pytest.skip("no objective is read")
    first = next(iter(case.flat.layers))
    reasons = r"does not (come after|depend on)|no 2-d convolution|attention"
    with pytest.raises(NotApplicable, match=reasons) as caught:
        method(case.flat, case.x, layer(first), wrt=case.family.late)
    assert "\n" not in str(caught.value)
