"""Signals, volumes and clips: what is perturbed lies in time and space, wherever the network has these dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import (
    RISE,
    ExtremalPerturbation,
    FeatureAblation,
    HSICAttribution,
    IntegratedGradients,
    Lime,
    Occlusion,
    ShapleyValueSampling,
    SobolAttribution,
    chunks_of,
)
from netlens.attribution._scale_space import (
    ScaleSpace,
)
from netlens.attribution.baseline import (
    baseline_like,
)
from netlens.attribution.perturbation._masks import (
    blocks,
    default_mask,
)
from netlens.attribution.perturbation._random_masks import (
    shifted,
)
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit

Slices = tuple[slice, ...]


class Frames(nn.Module):
    """A recurrent cell over the frames of a clip (N, T, C, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.cell, self.head = nn.Conv2d(2, 4, 3), nn.GRUCell(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 5)
        for t in range(x.shape[1]):
            state = self.cell(torch.relu(self.conv(x[:, t])).mean((2, 3)), state)
        result: Tensor = self.head(state)
        return result


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(torch.relu(self.conv(x.permute(0, 3, 1, 2))).mean((2, 3)))
        return result


def _signals() -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(8, 3))


def _volumes() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))


# the network, the shape of a sample, and the dimensions of its positions
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "signal": (_signals, (2, 17), (2,)),
    "volume": (_volumes, (1, 5, 6, 7), (2, 3, 4)),
    "clip": (Frames, (3, 2, 6, 7), (1, 3, 4)),
    "channels last": (ChannelsLast, (6, 7, 2), (1, 2)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[FlatModel, nn.Module, Tensor, tuple[int, ...]]:
    make, shape, dims = CASES[request.param]
    torch.manual_seed(0)
    network = make().double().eval()
    x = torch.randn(2, *shape, dtype=torch.float64)
    return FlatModel.from_nn_Module(network, example=x), network, x, dims


def windows(x: Tensor, dims: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]) -> Iterator[Slices]:
    """All windows by hand, as indices of a sample."""
    along = []
    for dim, extent, step in zip(dims, window, stride, strict=True):
        size = x.shape[dim]
        starts = range(0, max(size - extent, 0) + step, step)
        along.append([slice(start, min(start + extent, size)) for start in starts])
    for places in product(*along):
        index = [slice(None)] * (x.ndim - 1)
        for dim, place in zip(dims, places, strict=True):
            index[dim - 1] = place
        yield tuple(index)


@pytest.mark.parametrize("each", [False, True])
def test_occlusion_is_the_mean_fall_over_the_windows_that_cover_a_position(case, each):
    flat, network, x, dims = case
    window = tuple(range(2, 2 + len(dims))) if each else (3,) * len(dims)
    stride = tuple(max(1, extent - 1) for extent in window) if each else (2,) * len(dims)
    expected, cover = torch.zeros_like(x), torch.zeros_like(x)
    with torch.no_grad():
        before = network(x)[:, 1]
        for where in windows(x, dims, window, stride):
            at = (slice(None), *where)
            covered = x.clone()
            covered[at] = 0.3
            fall = before - network(covered)[:, 1]
            expected[at] += fall.view(-1, *[1] * (x.ndim - 1))
            cover[at] += 1
    method = Occlusion(window if each else 3, stride if each else 2, baselines=0.3)
    result = method(flat, x, logit(1))
    assert_close(result.values, expected / cover.clamp(min=1), rtol=1e-10, atol=1e-14)
    with chunks_of(3):
        assert_close(method(flat, x, logit(1)).values, result.values, rtol=1e-10, atol=1e-14)


def test_a_window_has_one_size_for_each_dimension_or_one_for_all(case):
    flat, _, x, dims = case
    with pytest.raises(NetLensError, match=f"a whole number of at least 1, or {len(dims)} of them"):
        Occlusion((2,) * (len(dims) + 1), 1)(flat, x, logit(0))


def test_rise_is_the_sum_of_masks_weighted_by_the_objective(case):
    flat, network, x, dims = case
    sizes = [x.shape[dim] for dim in dims]
    expected = torch.zeros(2, *sizes, dtype=torch.float64)
    shape = [x.shape[dim] if dim in dims else 1 for dim in range(1, x.ndim)]
    for index in range(5):
        mask = shifted(3, index, sizes, 3, 0.5)
        with torch.no_grad():
            values = network(x * mask.view(1, *shape))[:, 2]
        expected += values.view(-1, *[1] * len(sizes)) * mask / (5 * 0.5)
    result = RISE(n_masks=5, grid_size=3, seed=3)(flat, x, logit(2))
    assert_close(result.values, expected.view(2, *shape).expand_as(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "method",
    [
        FeatureAblation(n_segments=12),
        ShapleyValueSampling(n_segments=6, n_samples=4),
        Lime(n_segments=6, n_samples=30),
        SobolAttribution(n_samples=4, grid_size=2),
        HSICAttribution(n_masks=30, grid_size=2),
    ],
)
def test_values_vary_over_positions_and_are_equal_in_all_channels(case, method):
    flat, _, x, dims = case
    values = method(flat, x, logit(0)).values
    (channel,) = set(range(1, x.ndim)) - set(dims)
    assert_close(values, values.narrow(channel, 0, 1).expand_as(values), rtol=0, atol=0)
    assert (values.movedim(channel, 1)[:, 0].flatten(1).std(1) > 1e-9).all()


def test_shapley_values_sum_to_the_change_from_the_baseline(case):
    flat, network, x, _ = case
    result = ShapleyValueSampling(n_segments=4, n_samples=2, baselines=0.1)(flat, x, logit(0))
    mask = default_mask(flat, flat.inputs[0], x, 4).expand_as(x[:1])[0]
    features = torch.stack([result.values[:, mask == feature][:, 0] for feature in mask.unique()], 1)
    with torch.no_grad():
        change = network(x)[:, 0] - network(torch.full_like(x, 0.1))[:, 0]
    assert_close(features.sum(1), change, rtol=1e-9, atol=1e-12)


def test_extremal_masks_of_signals_lie_in_time():
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(_signals().double().eval())
    x = torch.randn(1, 2, 40, dtype=torch.float64)
    mask = ExtremalPerturbation(areas=0.25, n_steps=5)(flat, x, logit(0)).values
    assert_close(mask[:, 0], mask[:, 1], rtol=0, atol=0)
    assert abs(mask.mean().item() - 0.25) < 0.01 and mask.max() > 0.9 and mask.min() < 0.1


def test_extremal_masks_of_volumes_are_refused():
    flat = FlatModel.from_nn_Module(_volumes().double().eval())
    with pytest.raises(NotApplicable, match=r"masks of one or two dimensions.*5x6x7; take RISE or Occlusion"):
        ExtremalPerturbation(n_steps=1)(flat, torch.randn(1, 1, 5, 6, 7, dtype=torch.float64), logit(0))


def test_blocks_divide_any_number_of_sides_evenly():
    for sizes, n in (((17,), 5), ((8, 8, 8), 27), ((3, 16, 16), 50), ((6, 7), 6)):
        mask = blocks(sizes, n)
        count = int(mask.max()) + 1
        assert mask.shape == sizes and 0.5 * n < count <= n
        volumes = mask.flatten().bincount()
        extents = torch.stack([(mask == f).nonzero().amax(0) - (mask == f).nonzero().amin(0) + 1 for f in range(count)])
        assert extents.prod(1).tolist() == volumes.tolist()
        assert (extents.amax(0) - extents.amin(0)).max() <= 1


def test_each_step_of_a_long_signal_is_no_feature_of_its_own():
    flat = FlatModel.from_nn_Module(_signals().eval())
    assert default_mask(flat, "input", torch.zeros(1, 2, 400), 50).unique().numel() == 50


def test_a_blur_goes_over_all_positions_and_keeps_the_mean(case):
    flat, _, x, dims = case
    sides = dims[1:] if x.ndim == 5 and dims[0] == 1 else dims
    blurred = baseline_like(flat, flat.inputs[0], x, "blur")
    assert_close(blurred.mean(sides), x.mean(sides), rtol=1e-9, atol=1e-9)
    mean = baseline_like(flat, flat.inputs[0], x, "mean")
    assert_close(mean, x.mean(dims, keepdim=True).expand_as(x), rtol=1e-12, atol=1e-12)
    space = ScaleSpace(x, sides)
    assert_close(space.blurred([0, 1], torch.zeros(2, dtype=x.dtype)), x, rtol=1e-9, atol=1e-9)
    wide = space.blurred([0, 1], torch.full((2,), 200.0, dtype=x.dtype))
    assert_close(wide, x.mean(sides, keepdim=True).expand_as(x), rtol=1e-6, atol=1e-6)


def test_integrated_gradients_are_complete(case):
    flat, _, x, _ = case
    gap = IntegratedGradients(n_steps=200, baselines="mean")(flat, x, logit(0)).diagnostics["completeness_gap"]
    assert gap.abs().max() < 2e-3


def test_a_single_signal_and_a_single_volume_are_batches_of_one():
    signals, volumes = _signals().eval(), _volumes().eval()
    assert NetLens(signals, torch.rand(2, 30)).x.shape == (1, 2, 30)
    assert NetLens(volumes, torch.rand(1, 5, 6, 7)).x.shape == (1, 1, 5, 6, 7)
    assert NetLens(signals, torch.rand(3, 2, 30)).saliency().heatmap().shape == (3, 1, 30)
