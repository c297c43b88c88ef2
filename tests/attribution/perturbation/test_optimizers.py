"""A method that optimizes returns its best, not its last: never worse than its start, and no worse with more steps."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    ExtremalPerturbation,
    InformationBottleneck,
    chunks_of,
)
from netlens.attribution._noise import (
    stream,
)
from netlens.attribution.perturbation._best import (
    Best,
)
from netlens.attribution.perturbation._bottleneck import (
    information,
)
from netlens.attribution.perturbation._extremal import (
    interpolated,
)
from netlens.attribution.perturbation._masked import (
    Masked,
)
from netlens.attribution.perturbation._smooth_mask import (
    SmoothMask,
)
from netlens.errors import NonFiniteError
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import logit

SIGNS = {"preserve": 1, "delete": -1}


@pytest.fixture(scope="module")
def network() -> tuple[FlatModel, Tensor]:
    torch.manual_seed(0)
    trunk = [
        nn.Conv2d(3, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
    ]
    layers = nn.Sequential(*trunk, nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(32, 5))
    x = (
        torch.randn(3, 3, 30, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).cumsum(2).cumsum(3)
        / 9
    )
    return FlatModel.from_nn_Module(randomized(layers).double()), x


TARGETS = [3, 0, 1]


def plain_discs(flat: FlatModel, x: Tensor, target: int, variant: str, area: float) -> Tensor:
    """(81,): the objective under discs of this area with the edge that all masks have, made cell by cell."""
    method = ExtremalPerturbation(area, variant, grid_size=12)
    masked = Masked.of(flat, x, logit(target), "input", 0.0)
    levels = method._levels(masked, [0])
    smooth = SmoothMask.of(masked.sizes, method.grid_size, method.sigma, x.new_tensor([area]))
    height, width = smooth.cells
    down, across = torch.arange(height, dtype=x.dtype) + 0.5, torch.arange(width, dtype=x.dtype) + 0.5
    values = []
    for i in range(9):
        for j in range(9):
            distance = torch.hypot(down[:, None] - (i + 0.5) * height / 9, across - (j + 0.5) * width / 9)
            order = (distance * 1e4).round().flatten().argsort(stable=True)

            def of(count: int, order: Tensor = order) -> Tensor:
                cells = torch.zeros(height * width, dtype=x.dtype)
                cells[order[:count]] = 1
                return smooth(cells.view(1, height, width))

            count = bisect_right(range(height * width), area, key=lambda n: float(of(n).mean()))
            less, more = of(count - 1), of(count)
            assert less.mean() <= area < more.mean()
            share = (area - less.mean()) / (more.mean() - less.mean())
            mask = less + share * (more - less)
            shown = masked.spread(mask if variant == "preserve" else 1 - mask)
            values.append(flat(interpolated(levels, shown))[0, target])
    return torch.stack(values)


@pytest.mark.parametrize("variant", ["preserve", "delete"])
def test_a_mask_is_never_worse_than_any_plain_disc_and_no_worse_with_more_steps(network, variant):
    flat, x = network
    sign = SIGNS[variant]
    reached = []
    for n_steps in (1, 27, 60, 90):
        result = ExtremalPerturbation(0.15, variant, n_steps, grid_size=12)(flat, x, logit(TARGETS))
        assert_close(result.diagnostics["area"], torch.full_like(result.diagnostics["area"], 0.15), rtol=1e-9, atol=0)
        reached.append(sign * result.diagnostics["objective"][:, 0])
    for i, target in enumerate(TARGETS):
        discs = sign * plain_discs(flat, x[i : i + 1], target, variant, 0.15)
        assert_close(reached[0][i], discs.max(), rtol=1e-9, atol=1e-9)  # where it starts
    for fewer, more in pairwise(reached):
        assert (more >= fewer - 1e-9).all()
    assert (reached[-1] > reached[0] + 1e-3 * reached[0].abs()).all()  # and it does climb


def test_dual_masks_get_no_worse_in_what_they_are_optimized_for(network):
    flat, x = network
    values = []
    for n_steps in (1, 8, 40):
        masks = ExtremalPerturbation(0.15, "dual", n_steps, grid_size=12, baselines=0.0)(flat, x, logit(TARGETS)).values
        preserved, deleted = (
            flat(images).gather(1, torch.tensor(TARGETS)[:, None])[:, 0] for images in (x * masks, x * (1 - masks))
        )
        values.append((preserved - deleted) / 2)
    for fewer, more in pairwise(values):
        assert (more >= fewer - 1e-9).all()


@pytest.mark.parametrize("area", [0.02, 0.1, 0.3, 0.7])
def test_masks_of_scores_have_the_area_that_is_asked_for(area):
    scores = torch.randn(3, 24, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    areas = torch.full((3,), area, dtype=torch.float64)
    smooth = SmoothMask.of((30, 40), 32, 0.05, areas)
    masks = smooth.of_area(scores, areas)
    assert masks.min() >= 0 and masks.max() <= 1
    assert_close(masks.mean((1, 2)), areas, rtol=1e-9, atol=0)
    for mask, score in zip(masks, scores, strict=True):  # by hand: one cell after the other, as long as they fit
        order = score.flatten().argsort(descending=True)
        cells = torch.zeros(24 * 32, dtype=torch.float64)
        for count, cell in enumerate(order):
            fewer = smooth(cells.view(1, 24, 32))[0]
            cells[cell] = 1
            if count % 16 == 0 or abs(fewer.mean() - area) < 0.02:
                more = smooth(cells.view(1, 24, 32))[0]
                if more.mean() > area:
                    break
        if fewer.mean() <= area:
            assert (mask >= torch.minimum(fewer, more) - 1e-9).all() and (
                mask <= torch.maximum(fewer, more) + 1e-9
            ).all()


class Noisy(nn.Module):
    """Maps, of which a head reads some, steeply, so that steps of Adam overshoot."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.relu(self.maps(x)).mean((2, 3))) * 30)


def judged(flat: FlatModel, x: Tensor, target: int, share: Tensor, method: InformationBottleneck) -> Tensor:
    """The objective of the bottleneck at a share, by hand, on the draws of the first step."""
    at = flat(x, until="relu")
    mean, deviation = at.mean((2, 3), keepdim=True), at.std((2, 3), keepdim=True, correction=0)
    deviation = torch.maximum(deviation, deviation.mean() / 100)
    total = 0.0
    for draw in range(method.n_samples):
        noise = torch.randn(at.shape[1:], generator=stream(method.seed, 0, draw), dtype=torch.float64)
        mixed = share * at + (1 - share) * (mean + deviation * noise)
        total = total + flat.resume({"relu": mixed})[0, target] / method.n_samples
    return total - method.beta * information(share, ((at - mean) / deviation).square()).mean()


@pytest.mark.parametrize("learning_rate", [1.0, 8.0])
def test_a_bottleneck_is_never_worse_than_its_start_and_no_worse_with_more_steps(learning_rate):
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(Noisy().double())
    x = torch.randn(3, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    options = {"layer": "relu", "beta": 0.5, "sigma": 0.0, "n_samples": 3, "learning_rate": learning_rate}
    reached = []
    for n_steps in range(1, 12):
        method = InformationBottleneck(n_steps=n_steps, **options)
        result = method(flat, x, logit([0, 1, 2]))
        reached.append(result.diagnostics["objective"])
        for i in range(3):
            start = torch.full((1, 4, 9, 8), torch.tensor(5.0, dtype=torch.float64).sigmoid().item()).double()
            assert reached[-1][i] >= judged(flat, x[i : i + 1], i, start, method) - 1e-9
    for fewer, more in pairwise(reached):
        assert (more >= fewer - 1e-12).all()
    with chunks_of(2):
        whole = InformationBottleneck(n_steps=11, **options)(flat, x, logit([0, 1, 2]))
    assert_close(whole.values, result.values, rtol=1e-9, atol=1e-12)
    for i in range(3):
        single = InformationBottleneck(n_steps=11, **options)(flat, x[i : i + 1], logit(i))
        assert_close(single.values, result.values[i : i + 1], rtol=1e-9, atol=1e-12)


def test_what_is_said_of_a_bottleneck_is_what_its_share_does():
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(Noisy().double())
    x = torch.randn(1, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    method = InformationBottleneck("relu", beta=0.5, sigma=0.0, n_samples=3, n_steps=6, learning_rate=8.0)
    result = method(flat, x, logit(1))
    at = flat(x, until="relu")
    mean, deviation = at.mean((2, 3), keepdim=True), at.std((2, 3), keepdim=True, correction=0)
    surprise = ((at - mean) / torch.maximum(deviation, deviation.mean() / 100)).square()
    nats = result.values * torch.log(torch.tensor(2.0, dtype=torch.float64))
    low, high = torch.zeros_like(at), torch.ones_like(at)
    for _ in range(200):  # information grows with the share, so that it says it
        middle = (low + high) / 2
        less = information(middle, surprise) < nats
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    assert_close(judged(flat, x, 1, low, method)[None], result.diagnostics["objective"], rtol=1e-6, atol=1e-9)


def test_the_best_of_each_row_is_kept_and_what_is_broken_shows():
    best = Best()
    best.offer(torch.tensor([1.0, 3.0, torch.nan]), torch.tensor([[10.0], [30.0], [50.0]]))
    best.offer(torch.tensor([2.0, 3.0, 9.0]), torch.tensor([[20.0], [31.0], [51.0]]))
    best.offer(torch.tensor([torch.nan, torch.nan, 9.0]), torch.tensor([[21.0], [32.0], [52.0]]))
    assert best.candidate[:2, 0].tolist() == [20.0, 30.0] and best.candidate[2].isnan()
    torch.manual_seed(0)
    network = Noisy().double()
    with torch.no_grad():
        network.head.weight[0] = torch.nan
    x = torch.randn(1, 3, 9, 8, dtype=torch.float64)
    for method in (ExtremalPerturbation(n_steps=2), InformationBottleneck("relu", n_steps=2, n_samples=2)):
        with pytest.raises(NonFiniteError, match="head"):
            method(FlatModel.from_nn_Module(network), x, logit(0))
