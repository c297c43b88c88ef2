"""Class activation maps whose answer is known with pencil and paper, or by trying every channel."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    CAM,
    ISCAM,
    SSCAM,
    AblationCAM,
    EigenCAM,
    EigenGradCAM,
    FinerCAM,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
    ShapleyCAM,
    SmoothGradCAMPlusPlus,
    XGradCAM,
)
from netlens.attribution._noise import (
    normal,
    spans,
)
from netlens.attribution._suffix import (
    Suffix,
)
from netlens.attribution.engine import gradient_of
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.grid import grid_of
from netlens.objectives import channel, logit

POOLED = ["resnet", "densenet", "mobilenet", "branches", "swin", "plain", "dict"]


class Polynomial(nn.Module):
    """f = a sum(u) + b sum(v) + u00 v00 / 2 of the maps u = x and v = 2 x, so that all derivatives are known."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.maps = nn.Conv2d(1, 2, 1, bias=False)
        self.maps.weight.data = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        u, v = maps[:, 0], maps[:, 1]
        return (self.a * u.sum((1, 2)) + self.b * v.sum((1, 2)) + u[:, 0, 0] * v[:, 0, 0] / 2)[:, None]


X = torch.tensor([[1.0, 2.0], [0.0, 3.0]], dtype=torch.float64).view(1, 1, 2, 2)


def explained(method, a: float = 3.0, b: float = -1.0) -> np.ndarray:
    flat = FlatModel.from_nn_Module(Polynomial(a, b).double())
    return method(flat, X, logit(0)).values[0, 0].numpy()


# the gradients are a + v00/2 = 4 and b + u00/2 = -0.5 at the first place, and a = 3 and b = -1 at the other three
U, V = np.array([[1.0, 2.0], [0.0, 3.0]]), np.array([[2.0, 4.0], [0.0, 6.0]])
GU, GV = np.array([[4.0, 3.0], [3.0, 3.0]]), np.array([[-0.5, -1.0], [-1.0, -1.0]])
PENCIL = {
    "GradCAM": (GradCAM, 13 / 4 * U - 3.5 / 4 * V),
    "XGradCAM": (XGradCAM, (4 + 6 + 9) / 6 * U + (-1 - 4 - 6) / 12 * V),
    "HiResCAM": (HiResCAM, GU * U + GV * V),
    "LayerCAM": (LayerCAM, GU * U),
    "GradCAMElementWise": (GradCAMElementWise, GU * U),
    # alpha = g^2 / (2 g^2 + 6 g^3) = 1 / (2 + 6 g); negative gradients have no weight
    "GradCAMPlusPlus": (GradCAMPlusPlus, (4 / 26 + 3 * 3 / 20) * U),
    # the Hessian couples the two first places by 1/2: it times the activation is v00/2 = 1 and u00/2 = 1/2 there
    "ShapleyCAM": (ShapleyCAM, (13 - 0.5) / 4 * U + (-3.5 - 0.25) / 4 * V),
    # without u: f = -12; without v: f = 18; and f = 18 - 12 + 1 = 7
    "AblationCAM": (AblationCAM, (7 + 12) / 7 * U + (7 - 18) / 7 * V),
}


@pytest.mark.parametrize("name", PENCIL)
def test_with_a_pencil(name):
    method, expected = PENCIL[name]
    np.testing.assert_allclose(explained(method("maps", relu=False)), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(explained(method("maps")), expected.clip(0), rtol=1e-12, atol=1e-12)


def test_channels_that_sum_to_zero_have_no_weight(cases):
    """Dead channels give XGrad-CAM and Grad-CAM++ no NaN, and none of Score-CAM's constant channels runs."""
    flat = FlatModel.from_nn_Module(Polynomial(3, -1).double())
    for method in (XGradCAM("maps"), GradCAMPlusPlus("maps"), ScoreCAM("maps"), AblationCAM("maps"), EigenCAM("maps")):
        assert method(flat, 0 * X, logit(0)).values.tolist() == [[[[0.0, 0.0], [0.0, 0.0]]]]


@pytest.mark.parametrize("name", POOLED)
def test_cam_is_the_score_without_its_bias(cases, name):
    case = cases[name]
    objective = logit(list(case.targets))
    cam = CAM(relu=False)(case.flat, case.x, objective).values
    bias = [part for part in case.module.modules() if isinstance(part, nn.Linear)][-1].bias
    scores = case.flat.logits(case.module(case.x))[range(3), case.targets]
    assert_close(cam.mean((1, 2, 3)), scores.detach() - bias[list(case.targets)].detach(), rtol=1e-9, atol=1e-12)
    grad_cam = GradCAM(relu=False)(case.flat, case.x, objective).values
    assert_close(cam, grad_cam * grad_cam[0].numel(), rtol=1e-9, atol=1e-12)


def test_cam_of_a_difference_of_classes_and_of_what_is_no_class(cases):
    case = cases["branches"]
    one, two = (CAM(relu=False)(case.flat, case.x, logit(k)).values for k in (1, 2))
    both = CAM(relu=False)(case.flat, case.x, logit(1) - 2 * logit(2)).values
    assert_close(both, one - 2 * two)
    with pytest.raises(NotApplicable, match=r"class scores, not channel\('cat', 0\)"):
        CAM()(case.flat, case.x, channel("cat", 0))
    for name, layer in (("branches", "one"), ("vit", None)):
        with pytest.raises(NotApplicable, match="Use GradCAM"):
            CAM(layer)(cases[name].flat, cases[name].x, logit(0))


@pytest.mark.parametrize("name", ["branches", "vit", "swin", "densenet"])
def test_ablation_tries_every_channel(cases, name):
    case = cases[name]
    key = case.flat.key(case.family.middle)
    objective = logit(list(case.targets))
    activation = case.flat(case.x, until=key).detach()
    maps = grid_of(case.flat, key, activation)
    dim = {"vit": 2, "swin": 3}.get(name, 1)
    y = case.module(case.x)[range(3), case.targets].detach()
    weights = []
    for k in range(maps.shape[1]):
        without = activation.index_fill(dim, torch.tensor([k]), 0)
        frontier = case.flat.record(case.x, layers=list(case.flat.frontier(key))) | {key: without}
        weights.append((y - case.flat.resume(frontier)[range(3), case.targets].detach()) / y)
    expected = (torch.stack(weights, 1)[:, :, None, None] * maps).sum(1, keepdim=True)
    ours = AblationCAM(key, relu=False)(case.flat, case.x, objective).values
    assert_close(ours, expected, rtol=1e-9, atol=1e-10)
    plain = AblationCAM(key, relu=False, relative=False)(case.flat, case.x, objective).values
    assert_close(plain, expected * y.view(-1, 1, 1, 1), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", POOLED)
def test_ablation_before_a_mean_and_a_linear_layer_runs_nothing(cases, name, monkeypatch):
    case = cases[name]
    objective = logit(list(case.targets)) - logit(2) / 3
    closed = AblationCAM(relu=False)(case.flat, case.x, objective).values
    monkeypatch.setattr("netlens.attribution.cam._ablation.pooled_features", lambda flat, key: None)
    tried = AblationCAM(relu=False)(case.flat, case.x, objective).values
    assert_close(closed, tried, rtol=1e-8, atol=1e-10)


def masked_scores(case, maps: Tensor, masks) -> Tensor:
    """(N, C): the mean score of the images seen through each channel's masks, one by one; -inf for a constant one."""
    scores = torch.full(maps.shape[:2], -torch.inf, dtype=torch.float64)
    for n, target in enumerate(case.targets):
        for k in range(maps.shape[1]):
            up = F.interpolate(maps[n, k][None, None], case.x.shape[2:], mode="bilinear")
            if maps[n, k].max() > maps[n, k].min():  # resizing a constant leaves rounding noise
                mask = (up - up.min()) / (up.max() - up.min())
                images = torch.cat([case.x[n : n + 1] * m for m in masks(mask, k)])
                scores[n, k] = case.module(images)[:, target].mean().detach()
    return scores


def maps_at(case, key: str) -> Tensor:
    return grid_of(case.flat, case.flat.key(key), case.flat(case.x, until=key)).detach()


@pytest.mark.parametrize("name", ["branches", "vit", "plain"])
@pytest.mark.parametrize(
    ("method", "masks"),
    [
        (ScoreCAM, lambda mask, k: [mask]),
        (partial(ISCAM, n_steps=3), lambda mask, k: [mask / 3, mask * 2 / 3, mask]),
        (partial(ISCAM, n_steps=2, cumulative=True), lambda mask, k: [mask / 2, mask * 3 / 2]),
        (
            partial(SSCAM, n_samples=2, noise_level=0.3, seed=4),
            lambda mask, k: [mask + 0.3 * normal(mask, 4, k, copy) for copy in (0, 1)],
        ),
    ],
    ids=["score", "integrated", "cumulative", "smoothed"],
)
def test_masks_one_by_one(cases, name, method, masks):
    case = cases[name]
    key = case.family.late
    maps = maps_at(case, key)
    weights = masked_scores(case, maps, masks).softmax(1)
    ours = method(key, relu=False)(case.flat, case.x, logit(list(case.targets))).values
    assert_close(ours, (weights[:, :, None, None] * maps).sum(1, keepdim=True), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("convention", ["paper", "torchcam", "pytorch-grad-cam"])
def test_constant_channels_share_one_run_or_have_none(cases, convention):
    """Of eight channels two are dead and two are constant: four runs for each image, or five with a black mask."""
    module = copy.deepcopy(cases["plain"].module)
    last = module.trunk[3]
    with torch.no_grad():
        last.weight[[1, 4, 6]] = 0
        last.bias[[1, 4, 6]] = torch.tensor([-1.0, 1.0, 2.0], dtype=torch.float64)
    case = replace(cases["plain"], module=module, flat=FlatModel.from_nn_Module(module))
    maps = maps_at(case, "trunk.4")
    method = ScoreCAM(relu=False, convention=convention)
    ours = method(case.flat, case.x, logit(list(case.targets))).values
    if convention == "paper":
        scores = masked_scores(case, maps, lambda mask, k: [mask])
    else:
        align = convention == "pytorch-grad-cam"
        scores = torch.empty(3, 8, dtype=torch.float64)
        for k in range(8):
            mask, order = maps[:, k : k + 1], [_min_max, partial(_upsampled, size=case.x.shape[2:], align=align)]
            for step in reversed(order) if align else order:
                mask = step(mask)
            scores[:, k] = case.module(case.x * mask)[range(3), case.targets].detach()
    assert (scores == -torch.inf).sum() == (3 * 4 if convention == "paper" else 0)
    # scaled after it is resized, the rounding noise of a constant, 1e-16, is divided by the 1e-8 that is added
    tolerance = {"rtol": 1e-7, "atol": 1e-7} if convention == "pytorch-grad-cam" else {"rtol": 1e-9, "atol": 1e-11}
    assert_close(ours, (scores.softmax(1)[:, :, None, None] * maps).sum(1, keepdim=True), **tolerance)
    runs = []
    original = Suffix.value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Suffix, "value", lambda self, rows, at: runs.extend(rows) or original(self, rows, at))
        method(case.flat, case.x, logit(0))
    assert len(runs) == 3 * (4 if convention == "paper" else 5)


def _min_max(mask: Tensor) -> Tensor:
    low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
    return (mask - low) / (high - low + 1e-8)


def _upsampled(mask: Tensor, size: torch.Size, align: bool) -> Tensor:
    return F.interpolate(mask, size, mode="bilinear", align_corners=align)


def test_only_the_channels_that_vary_most(cases):
    case = cases["branches"]
    maps = maps_at(case, "cat")
    spread = maps.amax((2, 3)) - maps.amin((2, 3))
    keep = spread >= spread.topk(3, dim=1).values[:, -1:]
    weights = masked_scores(case, maps, lambda mask, k: [mask]).masked_fill(~keep, -torch.inf).softmax(1)
    ours = ScoreCAM(n_channels=3, relu=False)(case.flat, case.x, logit(list(case.targets))).values
    assert_close(ours, (weights[:, :, None, None] * maps).sum(1, keepdim=True), rtol=1e-8, atol=1e-10)
    every = ScoreCAM(n_channels=99)(case.flat, case.x, logit(1)).values
    assert torch.equal(every, ScoreCAM()(case.flat, case.x, logit(1)).values)


def test_smooth_grad_cam_plus_plus_from_its_copies(cases):
    case = cases["densenet"]
    key = case.flat.key(case.family.middle)
    objective = logit(list(case.targets))
    gradients = [
        gradient_of(
            case.flat, case.x + 0.2 * spans(case.flat, case.x, "input") * normal(case.x, 5, copy), objective, key
        )[1].numpy()
        for copy in range(3)
    ]
    first, second, third = (np.mean([g**power for g in gradients], axis=0) for power in (1, 2, 3))
    maps = case.flat(case.x, until=key).detach().numpy()
    total = maps.clip(0).sum((2, 3), keepdims=True)
    divisor = 2 * second + total * third
    alpha = np.divide(second, divisor, out=np.zeros_like(divisor), where=divisor != 0)
    weights = (alpha * first.clip(0)).sum((2, 3), keepdims=True)
    expected = torch.from_numpy((weights * maps).sum(1, keepdims=True))
    method = SmoothGradCAMPlusPlus(key, relu=False, n_samples=3, noise_level=0.2, seed=5)
    assert_close(method(case.flat, case.x, objective).values, expected, rtol=1e-9, atol=1e-12)
    silent = SmoothGradCAMPlusPlus(key, n_samples=2, noise_level=0)(case.flat, case.x, objective).values
    assert_close(silent, GradCAMPlusPlus(key)(case.flat, case.x, objective).values)


@pytest.mark.parametrize("method", [EigenCAM, EigenGradCAM])
@pytest.mark.parametrize("centered", [True, False])
def test_eigen_cam_is_the_first_principal_component(cases, method, centered):
    case = cases["branches"]
    at, gradient = gradient_of(case.flat, case.x, logit(1), "norm")
    rows = (at if method is EigenCAM else at * gradient).flatten(2).transpose(1, 2).numpy()
    ours = method("norm", relu=False, centered=centered)(case.flat, case.x, logit(1)).values.flatten(1).numpy()
    for n, sample in enumerate(rows):
        sample = sample - centered * sample.mean(0)
        values, vectors = np.linalg.eigh(sample.T @ sample)
        expected = sample @ vectors[:, -1]
        expected *= np.sign(expected[np.abs(expected).argmax()])
        np.testing.assert_allclose(ours[n], expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())
        assert np.isclose((ours[n] ** 2).sum(), values[-1])


def test_finer_cam_is_the_cam_of_a_difference(cases):
    case = cases["branches"]
    scores = case.module(case.x).detach()
    target = list(case.targets)
    nearest = [min(set(range(5)) - {t}, key=lambda k: abs(s[k] - s[t])) for s, t in zip(scores, target, strict=True)]
    ours = FinerCAM(alpha=0.7, n_similar=1, method=HiResCAM("norm", relu=False))(case.flat, case.x, logit(target))
    expected = HiResCAM("norm", relu=False)(case.flat, case.x, logit(target) - 0.7 * logit(nearest))
    assert_close(ours.values, expected.values)
    named = FinerCAM(comparisons=[2, 4])(case.flat, case.x, logit(0)).values
    assert_close(named, GradCAM()(case.flat, case.x, logit(0) - 0.3 * logit(2) - 0.3 * logit(4)).values)
    assert torch.equal(
        FinerCAM(alpha=0)(case.flat, case.x, logit(1)).values, GradCAM()(case.flat, case.x, logit(1)).values
    )
    with pytest.raises(NotApplicable, match="is no class"):
        FinerCAM()(case.flat, case.x, channel("cat", 0))
    with pytest.raises(NetLensError, match="class 1 is the target"):
        FinerCAM(comparisons=[1])(case.flat, case.x, logit(1))


def test_shapley_cam_is_grad_cam_where_nothing_bends(cases):
    case = cases["branches"]
    ours = ShapleyCAM()(case.flat, case.x, logit(1)).values
    assert_close(ours, GradCAM()(case.flat, case.x, logit(1)).values)


def test_maps_of_several_layers(cases):
    case = cases["branches"]
    names = ["norm", "cat"]
    for method in (GradCAM, LayerCAM, EigenCAM, AblationCAM):
        cams = [method(name)(case.flat, case.x, logit(1)).values for name in names]
        early, late = (cam / cam.amax((1, 2, 3), keepdim=True).clamp(min=1e-300) for cam in cams)
        if method is LayerCAM:
            early, late = torch.tanh(2 * early), torch.tanh(2 * late)
        late = F.interpolate(late, early.shape[-2:], mode="bilinear")
        expected = {"mean": (early + late) / 2, "max": torch.maximum(early, late), "product": early * late}
        for fusion, fused in expected.items():
            assert_close(method(names, fusion=fusion)(case.flat, case.x, logit(1)).values, fused)
        assert LayerCAM().fusion == "max"
    with pytest.raises(NetLensError, match="fusion is 'sum', but must be one of"):
        GradCAM(names, fusion="sum")(case.flat, case.x, logit(1))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda: ScoreCAM(convention="paperr"), "convention is 'paperr', but must be one of"),
        (lambda: ScoreCAM(n_channels=0), "n_channels is 0, but must be a whole number of at least 1 or None"),
        (lambda: SSCAM(n_samples=0), "n_samples is 0"),
        (lambda: ISCAM(n_steps=0), "n_steps is 0"),
        (lambda: SmoothGradCAMPlusPlus(n_samples=0), "n_samples is 0"),
        (lambda: FinerCAM(n_similar=0), "n_similar is 0"),
    ],
)
def test_options_that_make_no_sense(method, message):
    with pytest.raises(NetLensError, match=message):
        method()
