"""Cases whose answer is known with pencil and paper, and the laws that hold on every network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    Deconvolution,
    GradCAM,
    GuidedBackprop,
    InputGradient,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
    chunks_of,
)
from netlens.attribution.path._quadrature import (
    quadrature,
)
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import channel, layer, logit


def vector(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


@pytest.fixture
def linear() -> tuple[nn.Linear, FlatModel, Tensor]:
    torch.manual_seed(0)
    module = nn.Linear(7, 3).double()
    return module, FlatModel.from_nn_Module(module), torch.randn(2, 7, dtype=torch.float64)


@pytest.fixture
def two_layers() -> FlatModel:
    """f(x) = 3 relu(x0 - x1) - 2 relu(x1 - 1) + relu(x0 + 1)."""
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 1.0], [1.0, 0.0]]))
        module[0].bias.copy_(torch.tensor([0.0, -1.0, 1.0]))
        module[2].weight.copy_(torch.tensor([[3.0, -2.0, 1.0]]))
        module[2].bias.zero_()
    return FlatModel.from_nn_Module(module)


# gradients


def test_a_linear_model(linear):
    module, flat, x = linear
    weight = module.weight[[2, 0]].detach()
    objective = logit([2, 0])
    assert_close(Saliency()(flat, x, objective).values, weight.abs())
    assert_close(InputGradient()(flat, x, objective).values, weight)
    assert_close(InputXGradient()(flat, x, objective).values, weight * x)
    baseline = torch.randn(2, 7, dtype=torch.float64)
    for name in ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"):
        result = IntegratedGradients(4, baseline, name)(flat, x, objective)
        assert_close(result.values, weight * (x - baseline))
        assert_close(result.diagnostics["completeness_gap"], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_close(IntegratedGradients(4, baseline, multiply=False)(flat, x, objective).values, weight)


def test_occlusion_of_a_linear_model_is_what_the_window_held(linear):
    module, flat, x = linear
    part = module.weight[1].detach() * (x - 0.5)
    values = Occlusion(window=3, stride=2, baselines=0.5)(flat, x, logit(1)).values
    windows = [range(3), range(2, 5), range(4, 7)]
    for i in range(7):
        falls = [part[:, list(window)].sum(1) for window in windows if i in window]
        assert_close(values[:, i], torch.stack(falls).mean(0))


def test_two_layers_with_a_pencil(two_layers):
    # at (2, 3): relu(-1) is off, relu(2) and relu(3) are on; f = -4 + 3
    x = vector(2, 3)
    assert two_layers(x).item() == -1
    assert InputGradient()(two_layers, x, logit(0)).values.tolist() == [[1, -2]]
    assert InputXGradient()(two_layers, x, logit(0)).values.tolist() == [[2, -6]]
    assert InputGradient()(two_layers, x, logit(0), wrt="1").values.tolist() == [[3, -2, 1]]
    # guided: the off and the negative path are closed; only relu(x0 + 1) is left
    assert GuidedBackprop()(two_layers, x, logit(0)).values.tolist() == [[1, 0]]
    # deconvnet: relu(x0 - x1) passes its 3 although it was off
    assert Deconvolution()(two_layers, x, logit(0)).values.tolist() == [[4, -3]]


def test_integrated_gradients_with_a_pencil(two_layers):
    # along t (2, 3): relu(x1 - 1) is on from t = 1/3, relu(x0 + 1) always
    values = IntegratedGradients(30_000, quadrature="riemann_middle")(two_layers, vector(2, 3), logit(0))
    assert_close(values.values, vector(2, -2 * 3 * 2 / 3))
    assert_close(values.diagnostics["completeness_gap"].abs(), torch.zeros(1, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["swin", "densenet", "mobilenet", "branches", "vit", "plain", "one logit"])
def test_integrated_gradients_are_complete(cases, name):
    case = cases[name]
    x = case.x[:1] / 4
    objective = logit(case.targets[1])
    result = IntegratedGradients(200, baselines=0.1)(case.flat, x, objective)
    with torch.no_grad():
        f = [case.flat.logits(case.flat(value))[0, case.targets[1]] for value in (x, torch.full_like(x, 0.1))]
    gap = result.diagnostics["completeness_gap"]
    assert_close(gap, result.values.sum().view(1) - (f[0] - f[1]), rtol=0, atol=1e-12)
    assert gap.abs() < 0.01 * (f[0] - f[1]).abs()


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_gauss_legendre_integrates_polynomials_exactly(n):
    weights, places = quadrature("gausslegendre", n)
    for degree in range(2 * n):
        assert np.isclose((weights * places**degree).sum(), 1 / (degree + 1), rtol=1e-13)


@pytest.mark.parametrize(
    "name", ["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]
)
def test_quadratures_average_and_converge(name):
    gaps = []
    for n in (2, 4, 8):
        weights, places = quadrature(name, n)
        assert len(weights) == len(places) == n
        assert np.isclose(weights.sum(), 1, rtol=1e-14) and places.min() >= 0 and places.max() <= 1
        gaps.append(abs((weights * np.exp(places)).sum() - np.expm1(1)))
    assert gaps[2] <= gaps[1] <= gaps[0] < 0.5


def test_a_quadrature_says_what_it_needs(linear):
    _, flat, x = linear
    with pytest.raises(NetLensError, match="at least 2 steps, not 1"):
        IntegratedGradients(1, quadrature="riemann_trapezoid")(flat, x, logit(0))
    with pytest.raises(NetLensError, match=r"quadrature is 'simpson', but must be one of 'gausslegendre'"):
        IntegratedGradients(quadrature="simpson")(flat, x, logit(0))
    with pytest.raises(NetLensError, match=r"baseline of shape \(5,\) does not broadcast"):
        IntegratedGradients(baselines=torch.zeros(5))(flat, x, logit(0))
    with pytest.raises(NetLensError, match="chunks is 0, but must be a whole number of at least 1"), chunks_of(0):
        IntegratedGradients()(flat, x, logit(0))


# occlusion


def test_occlusion_is_its_definition_window_by_window(cases):
    case = cases["plain"]
    x, target = case.x[:1], 2
    method = Occlusion(window=(4, 9), stride=(3, 7), baselines=0.3)
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    with torch.no_grad():
        for top in (0, 3, 6, 9, 12):  # 15 rows: the fifth window is cropped to three of them
            for left in (0, 7, 14):  # 20 columns: the third is cropped to six
                hidden = x.clone()
                hidden[..., top : top + 4, left : left + 9] = 0.3
                total[..., top : top + 4, left : left + 9] += (case.module(x) - case.module(hidden))[0, target]
                count[..., top : top + 4, left : left + 9] += 1
    assert_close(method(case.flat, x, logit(target)).values, total / count, rtol=1e-9, atol=1e-12)


def test_a_window_over_the_whole_image_hides_it(cases):
    case = cases["plain"]
    fall = case.flat(case.x) - case.flat(torch.zeros_like(case.x))
    values = Occlusion(window=100, stride=1)(case.flat, case.x, logit(list(case.targets))).values
    for i, target in enumerate(case.targets):
        assert_close(values[i], fall[i, target].expand_as(values[i]), rtol=1e-9, atol=1e-12)


def test_gaps_between_windows_are_zero(linear):
    module, flat, x = linear
    values = Occlusion(window=1, stride=3)(flat, x, logit(0)).values
    expected = module.weight[0].detach() * x
    assert_close(values[:, ::3], expected[:, ::3])
    assert values[:, [1, 2, 4, 5]].abs().sum() == 0


def test_occlusion_slides_over_the_maps_of_a_layer_whatever_their_layout(cases):
    for name, wrt in (("plain", "trunk.2"), ("swin", "features.1"), ("vit", "encoder.layers.encoder_layer_0")):
        case = cases[name]
        result = Occlusion(window=2, stride=1)(case.flat, case.x, logit(0), wrt=wrt)
        activation = case.flat(case.x, until=wrt)
        assert result.values.shape == activation.shape
        first = (slice(None), slice(2), slice(2)) if name == "swin" else (slice(None), slice(None), slice(2), slice(2))
        hidden = activation.clone()
        hidden[(slice(None), slice(2)) if name == "vit" else first] = 0
        cut = case.flat.frontier(wrt)
        assert cut == (case.flat.key(wrt),)
        fall = (case.flat.resume({cut[0]: activation}) - case.flat.resume({cut[0]: hidden}))[:, 0]
        first_of_each = (slice(None), *[0] * (activation.ndim - 1))
        assert_close(result.values[first_of_each], fall, rtol=1e-9, atol=1e-12)


def test_a_window_is_a_positive_number_or_a_pair(cases):
    case = cases["plain"]
    for wrong in (0, (3, 4, 5), (2, -1)):
        with pytest.raises(NetLensError, match=r"window is .*, but must be a whole number of at least 1"):
            Occlusion(window=wrong)(case.flat, case.x, logit(0))


# class activation maps


class _TwoChannels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(1, 2, 1, bias=False)
        self.head = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.maps.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[6.0, 4.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).mean((2, 3)))


def test_grad_cam_with_a_pencil():
    flat = FlatModel.from_nn_Module(_TwoChannels().double())
    x = vector(1, -2, 3, 0).view(1, 1, 2, 2)
    # each of the four positions has the gradients 6/4 and 4/4; the maps are x and -x: (6/4 - 4/4) x
    raw = GradCAM(relu=False)(flat, x, logit(0))
    assert raw.provenance.layer == "maps" and raw.values.tolist() == [[[[0.5, -1.0], [1.5, 0.0]]]]
    assert GradCAM()(flat, x, logit(0)).values.tolist() == [[[[0.5, 0.0], [1.5, 0.0]]]]
    assert GradCAM()(flat, x, -logit(0)).values.tolist() == [[[[0.0, 1.0], [0.0, 0.0]]]]


def test_grad_cam_at_several_layers_is_the_mean_of_their_normalized_maps(cases):
    case = cases["resnet"]
    objective = logit(list(case.targets))
    early, late = (GradCAM(name)(case.flat, case.x, objective).values for name in ("layer2", "layer3"))
    early, late = (cam / cam.amax((1, 2, 3), keepdim=True).clamp(min=1e-300) for cam in (early, late))
    both = GradCAM(["layer2", "layer3"])(case.flat, case.x, objective).values
    assert early.shape[-2:] > late.shape[-2:]
    assert_close(both, (early + F.interpolate(late, early.shape[-2:], mode="bilinear")) / 2)


def test_wrt_names_the_layer_of_a_cam(cases):
    case = cases["resnet"]
    named = GradCAM("layer2")(case.flat, case.x, logit(0))
    for method in (GradCAM(), GradCAM("layer3")):
        attribution = method(case.flat, case.x, logit(0), wrt="layer2")
        assert torch.equal(attribution.values, named.values) and attribution.provenance.layer == named.provenance.layer


# layers with rows that are not samples, and objectives partly before them


@pytest.mark.parametrize("part", ["attn.softmax", "attn.query", "attn.mixed"])
@pytest.mark.parametrize("method", [InputXGradient(), IntegratedGradients(3), Saliency()])
def test_windows_of_a_sample_stay_with_it(cases, part, method):
    case = cases["swin"]
    wrt = f"features.1.1.{part}"
    whole = method(case.flat, case.x, logit(list(case.targets)), wrt=wrt)
    rows = case.flat(case.x, until=wrt).shape
    assert whole.values.shape == (3, rows[0] // 3, *rows[1:])
    for i, target in enumerate(case.targets):
        single = method(case.flat, case.x[i : i + 1], logit(target), wrt=wrt)
        assert_close(whole.values[i : i + 1], single.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", [InputXGradient(), IntegratedGradients(3), Occlusion(2, 2)])
def test_a_term_before_the_layer_is_a_constant(cases, method):
    case = cases["resnet"]
    alone = method(case.flat, case.x, logit(0), wrt="layer3")
    assert_close(method(case.flat, case.x, logit(0) - 3 * layer("layer1"), wrt="layer3").values, alone.values)
    before = channel("layer2.0.relu", 0) - layer("layer1")
    for objective in (before, channel("relu", 0)):
        with pytest.raises(NetLensError, match="does not"):
            method(case.flat, case.x, objective, wrt="layer3")
