"""Total Sobol indices of functions whose indices are known, and the estimator against scipy's."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import SobolAttribution
from netlens.attribution.perturbation._random_masks import (
    in_blocks,
)
from netlens.attribution.perturbation._sobol import (
    designs,
    jansen,
)
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import logit, output


class Ishigami(nn.Module):
    """sin a + 7 sin^2 b + 0.1 c^4 sin a."""

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = x[:, 0], x[:, 1], x[:, 2]
        return (torch.sin(a) + 7 * torch.sin(b) ** 2 + 0.1 * c**4 * torch.sin(a))[:, None]


class Interacting(nn.Module):
    """x0 x1 + 2 x2; x3 is not read."""

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, 0] * x[:, 1] + 2 * x[:, 2])[:, None]


def test_the_ishigami_function_has_its_textbook_indices():
    # a mask uniform in [0, 1] leads from the baseline -pi to pi
    flat, x = FlatModel.from_nn_Module(Ishigami()), torch.full((1, 3), math.pi, dtype=torch.float64)
    values = SobolAttribution(2**13, baselines=-math.pi)(flat, x, logit(0)).values
    first, second, third = (
        0.5 * (1 + 0.1 * math.pi**4 / 5) ** 2,
        7**2 / 8,
        0.1**2 * math.pi**8 * (1 / 18 - 1 / 50),
    )
    variance = first + second + third
    expected = torch.tensor([[(first + third) / variance, second / variance, third / variance]], dtype=torch.float64)
    assert_close(values, expected, rtol=0, atol=2e-3)


def test_a_linear_function_shares_its_variance_by_squares():
    torch.manual_seed(0)
    module = nn.Linear(7, 3).double()
    x = torch.randn(2, 7, dtype=torch.float64)
    values = SobolAttribution(2**12, baselines=0.5)(FlatModel.from_nn_Module(module), x, logit(1)).values
    parts = (module.weight[1].detach() * (x - 0.5)).square()
    assert_close(values, parts / parts.sum(1, keepdim=True), rtol=0, atol=2e-3)


def test_what_cells_do_together_counts_for_each():
    x = torch.tensor([[3.0, -2.0, 1.0, 5.0]], dtype=torch.float64)
    values = SobolAttribution(2**13)(FlatModel.from_nn_Module(Interacting()), x, logit(0)).values
    # of m0 m1: variance 1/9 - 1/16, of which knowing the other leaves E[m^2]/12 = 1/36; of m2: 1/12
    product, other = 36 * (1 / 9 - 1 / 16), 4 / 12
    expected = torch.tensor([[1, 1, other, 0]], dtype=torch.float64) / (product + other)
    assert_close(values, expected, rtol=0, atol=2e-3)
    assert values[0, 3] == 0
    assert values.sum() > 1.1


def test_the_estimator_agrees_with_scipy():
    generator = torch.Generator().manual_seed(0)
    values, exchanged = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((2, 16), (2, 16, 5)))
    ours = jansen(values, exchanged)
    for row in range(2):
        tables = {"f_A": values[row], "f_B": values[row], "f_AB": exchanged[row].T}
        theirs = scipy.stats.sobol_indices(func={k: v.numpy()[..., None, :] for k, v in tables.items()}, n=16)
        # scipy divides the variance by n, the paper by n - 1
        assert_close(ours[row], torch.from_numpy(theirs.total_order) * 15 / 16, rtol=1e-12, atol=0)


def test_values_are_the_definition_mask_by_mask(core_case):
    method = SobolAttribution(n_samples=2, grid_size=2, baselines=0.2, seed=4)
    first, second = designs(2, 4, 4)
    sizes = core_case.x.shape[2:]

    def score(cells: Tensor) -> Tensor:
        mask = in_blocks(cells.view(2, 2), sizes)
        scores = core_case.module(core_case.x * mask + 0.2 * (1 - mask)).detach()
        return scores.gather(1, torch.tensor(core_case.targets)[:, None])[:, 0]

    falls = torch.zeros(3, 4, dtype=torch.float64)
    for a, b in zip(first, second, strict=True):
        for cell in range(4):
            mixed = torch.where(torch.arange(4) == cell, b, a)
            falls[:, cell] += (score(a) - score(mixed)).square() / 4
    variance = (score(first[0]) - score(first[1])).square() / 2
    expected = in_blocks((falls / variance[:, None]).view(3, 2, 2), sizes)
    values = method(core_case.flat, core_case.x, logit(list(core_case.targets))).values
    assert_close(values, expected[:, None].expand_as(core_case.x), rtol=1e-9, atol=1e-12)


def test_cells_divide_the_places_evenly():
    for size in range(1, 30):
        for count in range(1, size + 1):
            sizes = torch.bincount(in_blocks(torch.arange(count), (size,)), minlength=count)
            assert sizes.sum() == size and sizes.max() - sizes.min() <= 1


def test_a_constant_has_no_variance_to_share(cases):
    case = cases["plain"]
    values = SobolAttribution(4, 2)(case.flat, case.x, output(lambda scores: torch.full_like(scores[:, 0], 3))).values
    assert torch.equal(values, torch.zeros_like(values))


def test_the_points_are_those_of_one_sequence_and_are_uniform():
    first, second = designs(64, 6, 0)
    both = torch.cat([first, second], 1)
    # a scrambled Sobol sequence has one of 64 points in each 64th of every dimension
    assert torch.equal((both * 64).long().sort(0).values, torch.arange(64)[:, None].expand(64, 12))
    assert not torch.equal(designs(64, 6, 1)[0], first)


def test_options_out_of_range_are_refused(cases):
    case = cases["plain"]
    with pytest.raises(NetLensError, match="n_samples is 1, but must be a whole number of at least 2"):
        SobolAttribution(1)(case.flat, case.x, logit(0))
    with pytest.raises(NetLensError, match="grid_size is 0, but must be a whole number of at least 1"):
        SobolAttribution(grid_size=0)(case.flat, case.x, logit(0))
    with pytest.raises(NetLensError, match="grid_size makes 22500 cells, but a Sobol sequence serves 10600"):
        designs(2, 22500, 0)
