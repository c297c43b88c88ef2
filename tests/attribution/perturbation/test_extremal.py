"""Extremal perturbations: the area that was asked for, at the place where the evidence is known to be."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import ExtremalPerturbation
from netlens.attribution.perturbation._extremal import (
    interpolated,
)
from netlens.attribution.perturbation._smooth_mask import (
    SmoothMask,
)
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import logit, output

SIZES = (30, 40)
CELLS = 16


def disc(y: float, x: float, radius: float) -> Tensor:
    down, across = (torch.arange(size, dtype=torch.float64) + 0.5 for size in SIZES)
    return ((down[:, None] - y) ** 2 + (across - x) ** 2 < radius**2).double()


class Lit(nn.Module):
    """How much light there is in one place of the image (logit 0) and in another (logit 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.stack([disc(10, 11, 6), disc(21, 30, 6)]))

    def forward(self, x: Tensor) -> Tensor:
        return (x.mean(1)[:, None] * self.places).sum((2, 3)) / self.places.sum((1, 2))


@pytest.fixture(scope="module")
def lit() -> tuple[Lit, FlatModel, Tensor]:
    module = Lit()
    x = 0.5 + torch.rand(2, 3, *SIZES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return module, FlatModel.from_nn_Module(module), x


def soft_discs(area: Tensor) -> Tensor:
    """(n, *SIZES): masks of discs of cells, each the largest of at most this area, all over the image."""
    smooth = SmoothMask.of(SIZES, CELLS, 21 / 224, area)
    down, across = ((torch.arange(count, dtype=torch.float64) + 0.5) * 40 / CELLS for count in smooth.cells)
    discs = []
    for y, x in [*itertools.product(range(1, 30, 4), range(1, 40, 4)), (10, 11), (21, 30)]:
        distance = ((down[:, None] - y) ** 2 + (across - x) ** 2).sqrt()
        radii, least, most = torch.linspace(0.1, 14, 140), 0, 139
        while least < most:  # the mean of a mask grows with its radius
            middle = (least + most + 1) // 2
            fits = smooth((distance < radii[middle])[None].to(area)).mean() <= area
            least, most = (middle, most) if fits else (least, middle - 1)
        discs.append(smooth((distance < radii[least])[None].to(area))[0])
    return torch.stack(discs)


@pytest.mark.parametrize("variant", ["preserve", "delete", "dual"])
def test_the_mask_has_its_area_and_lies_on_the_evidence(lit, variant):
    module, flat, x = lit
    result = ExtremalPerturbation(0.1, variant, 200, CELLS, baselines=0.0)(flat, x, logit([0, 1]))
    masks = result.values[:, 0]
    assert masks.min() >= 0 and masks.max() <= 1
    assert_close(result.values, masks[:, None].expand_as(x))
    assert_close(result.diagnostics["area"], masks.mean((1, 2))[:, None])
    assert (result.diagnostics["area"] - 0.1).abs().max() < 0.01
    for i, mask in enumerate(masks):
        shown = mask if variant != "delete" else 1 - mask
        score = module(x[i : i + 1] * shown)[0, i]
        assert_close(result.diagnostics["objective"][i, 0], score, rtol=1e-12, atol=0)
        # 9 % of the image is evidence
        assert (mask * module.places[i]).sum() / mask.sum() > 0.75
        assert (mask * module.places[1 - i]).sum() < 1e-3 * mask.sum()
        # no disc of the same smoothness and area does better, wherever it lies: not even in the middle of the evidence
        discs = soft_discs(mask.mean())
        others = module(x[i : i + 1] * (1 - discs if variant == "delete" else discs)[:, None])[:, i]
        assert score < others.min() if variant == "delete" else score > others.max()


def test_on_a_linear_network_all_variants_are_one(lit):
    _, flat, x = lit
    preserve, delete, dual = (
        ExtremalPerturbation(0.1, variant, 50, CELLS, baselines=0.0)(flat, x, logit([0, 1])).values
        for variant in ("preserve", "delete", "dual")
    )
    assert_close(delete, preserve, rtol=0, atol=1e-9)
    assert_close(dual, preserve, rtol=0, atol=1e-9)


@pytest.mark.parametrize("area", [0.04, 0.2, 0.5])
def test_other_areas_are_met_too(lit, area):
    _, flat, x = lit
    result = ExtremalPerturbation(area, n_steps=200, grid_size=CELLS, baselines=0.0)(flat, x[:1], logit(0))
    assert abs(result.diagnostics["area"].item() - area) < 0.015


def test_several_areas_are_the_mean_of_each(lit):
    _, flat, x = lit
    method = ExtremalPerturbation((0.05, 0.3), n_steps=20, grid_size=CELLS)
    both = method(flat, x, logit([0, 1]))
    each = [ExtremalPerturbation(area, n_steps=20, grid_size=CELLS)(flat, x, logit([0, 1])) for area in (0.05, 0.3)]
    assert_close(both.values, (each[0].values + each[1].values) / 2, rtol=1e-9, atol=1e-12)
    for name in ("area", "objective"):
        columns = torch.cat([one.diagnostics[name] for one in each], 1)
        assert_close(both.diagnostics[name], columns, rtol=1e-9, atol=1e-12)


def test_neither_scale_nor_offset_of_the_objective_matters(cases):
    case = cases["plain"]
    method = ExtremalPerturbation(n_steps=8, grid_size=CELLS)
    plain = method(case.flat, case.x, logit(2)).values
    changed = method(case.flat, case.x, output(lambda scores: 1000 * scores[:, 2] - 50)).values
    assert_close(plain, changed, rtol=1e-7, atol=1e-9)
    assert not torch.allclose(plain, torch.ones_like(plain))


# the mask


def test_a_mask_is_the_smooth_maximum_of_bumps():
    like = torch.zeros((), dtype=torch.float64)
    smooth = SmoothMask.of((6, 9), 9, 0.15, like)
    assert smooth.cells == (6, 9)
    cells = torch.rand(1, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reach = math.ceil(2 * 0.15 * 9)

    def maximum(cells: Tensor, row: int, column: int) -> float:
        bumps = []
        for i in range(row - reach, row + reach + 1):
            for j in range(column - reach, column + reach + 1):
                inside = 0 <= i < 6 and 0 <= j < 9
                far = math.hypot(i - row, j - column) / (0.15 * 9)
                height = cells[i, j].item() if inside else 0.0
                bumps.append(height * math.exp(-2 * max(0.0, far - 0.5) ** 2))
        weights = [math.exp(20 * bump) for bump in bumps]
        return sum(w * b for w, b in zip(weights, bumps, strict=True)) / sum(weights)

    ones = torch.ones(6, 9)
    expected = [[maximum(cells[0], i, j) / maximum(ones, i, j) for j in range(9)] for i in range(6)]
    assert_close(smooth(cells)[0], torch.tensor(expected, dtype=torch.float64).clamp(max=1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("sizes", [(48, 36), (5, 5), (7,), (1, 1), (64,)])
def test_a_mask_of_ones_is_1_everywhere_and_can_fall(sizes):
    smooth = SmoothMask.of(sizes, 32, 21 / 224, torch.zeros((), dtype=torch.float64))
    cells = torch.ones(1, *smooth.cells, dtype=torch.float64, requires_grad=True)
    masks = smooth(cells)
    assert_close(masks, torch.ones_like(masks), rtol=0, atol=1e-12)
    assert masks.shape[1:] == (sizes if len(sizes) == 2 else (1, *sizes))
    (slope,) = torch.autograd.grad(masks.sum(), cells)
    assert slope.min() > 0
    assert_close(smooth(torch.zeros_like(cells)), torch.zeros_like(masks), rtol=0, atol=0)


# the perturbation


def test_blur_is_nothing_where_shown_and_all_where_hidden():
    levels = list(torch.randn(8, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(interpolated(levels, torch.ones(1, 4, 5, dtype=torch.float64)), levels[0])
    assert torch.equal(interpolated(levels, torch.zeros(1, 4, 5, dtype=torch.float64)), levels[-1])
    shown = torch.full((1, 4, 5), 1 - 2.25 / 7, dtype=torch.float64)
    assert_close(interpolated(levels, shown), 0.75 * levels[2] + 0.25 * levels[3], rtol=1e-12, atol=1e-12)
    # and it has a slope at the ends, where masks like to be
    for end, (near, far) in ((1.0, (levels[0], levels[1])), (0.0, (levels[-2], levels[-1]))):
        shown = torch.full((1, 4, 5), end, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(interpolated(levels, shown).sum(), shown)
        assert_close(slope, 7 * (near - far), rtol=1e-12, atol=1e-12)


def test_detail_is_what_blur_takes():
    class Detail(nn.Module):
        """Contrast between neighbors in one place."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("place", disc(10, 11, 6))

        def forward(self, x: Tensor) -> Tensor:
            contrast = (x[..., 1:] - x[..., :-1]).abs().sum(1) * self.place[:, 1:]
            return contrast.sum((1, 2))[:, None]

    module = Detail()
    x = torch.randn(1, 3, *SIZES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = ExtremalPerturbation(0.1, n_steps=200)(FlatModel.from_nn_Module(module), x, logit(0))
    mask = result.values[0, 0]
    assert (mask * module.place).sum() / mask.sum() > 0.65
    assert result.diagnostics["objective"].item() > 0.6 * module(x).item()


def test_options_out_of_range_are_refused(cases):
    case = cases["plain"]
    for areas in (0.0, 1.0, (), (0.1, 2.0)):
        with pytest.raises(NetLensError, match=r"areas is .* above 0 and below 1|areas names no part"):
            ExtremalPerturbation(areas)(case.flat, case.x, logit(0))
    for name, value in (("n_steps", 0), ("grid_size", 0), ("sigma", 0.0), ("blur", -1.0)):
        with pytest.raises(NetLensError, match=f"{name} is {value}, but must be"):
            ExtremalPerturbation(**{name: value})
    with pytest.raises(NetLensError, match="variant is 'keep', but must be one of 'preserve', 'delete', 'dual'"):
        ExtremalPerturbation(variant="keep")(case.flat, case.x, logit(0))
