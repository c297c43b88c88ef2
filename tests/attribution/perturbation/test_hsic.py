"""HSIC against its definition with whole kernel matrices, and cases with a pencil."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from netlens.attribution import HSICAttribution
from netlens.attribution.perturbation._hsic import (
    balanced,
    hsic,
    median_distance,
)
from netlens.attribution.perturbation._random_masks import (
    in_blocks,
)
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import logit, output


def _by_definition(masks: np.ndarray, values: np.ndarray) -> np.ndarray:
    """tr(K H L H) / (n - 1)^2 for each cell, from whole matrices."""
    n = len(masks)
    apart = np.abs(values[:, None] - values[None])
    width = np.sort(apart[np.triu_indices(n, 1)])[(n * (n - 1) // 2 - 1) // 2]
    kernel = np.exp(-(apart**2) / (2 * width**2))
    center = np.eye(n) - 1 / n
    same = [(cell[:, None] == cell[None]).astype(float) for cell in masks.T]
    return np.array([np.trace(k @ center @ kernel @ center) for k in same]) / (n - 1) ** 2


@pytest.mark.parametrize("n", [2, 3, 10, 41, 300])
def test_the_estimator_is_its_definition(n):
    generator = torch.Generator().manual_seed(n)
    masks = (torch.rand(n, 7, generator=generator) < 0.5).double()
    values = torch.randn(3, n, generator=generator, dtype=torch.float64) * torch.tensor([[1.0], [1e-4], [1e5]])
    estimates = hsic(masks, values)
    for row, outputs in zip(estimates, values, strict=True):
        assert_close(row, torch.from_numpy(_by_definition(masks.numpy(), outputs.numpy())), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 4, 11, 60])
def test_the_median_distance_is_that_of_all_pairs(n):
    values = torch.randn(4, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64) + 50
    values[1] = values[1].round()  # ties
    expected = [torch.pdist(row[:, None]).median() for row in values]
    assert_close(median_distance(values), torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_values_are_the_definition_on_a_network(core_case):
    method = HSICAttribution(n_masks=9, grid_size=2, baselines=0.2, seed=5)
    masks = balanced(9, 4, 5)
    scores = []
    for cells in masks:
        mask = in_blocks(cells.view(2, 2), core_case.x.shape[2:])
        scores.append(core_case.module(core_case.x * mask + 0.2 * (1 - mask)).detach())
    values = method(core_case.flat, core_case.x, logit(list(core_case.targets))).values
    for i, target in enumerate(core_case.targets):
        outputs = np.array([score[i, target] for score in scores])
        expected = torch.from_numpy(_by_definition(masks.numpy(), outputs)).view(2, 2)
        wanted = in_blocks(expected, core_case.x.shape[2:]).expand_as(core_case.x[i])
        assert_close(values[i], wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, -1e6])
def test_a_cell_that_decides_alone_with_a_pencil(scale):
    n = 400
    module = nn.Linear(6, 1, bias=False).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0, 0, scale, 0, 0, 0]]))
    x = torch.ones(1, 6, dtype=torch.float64)
    values = HSICAttribution(n)(FlatModel.from_nn_Module(module), x, logit(0)).values[0]
    # f has two values; most pairs are of one each, so their distance is the width, and L is 1 or exp(-1/2)
    assert_close(values[2].item(), n**2 / 4 * (1 - math.exp(-0.5)) / (n - 1) ** 2, rtol=1e-12, atol=0)
    others = values[[0, 1, 3, 4, 5]]
    assert others.min() >= 0 and others.max() < 0.02 * values[2]


def test_independence_is_nothing_up_to_one_over_the_number_of_masks():
    masks = balanced(2000, 5, 0)
    values = torch.randn(1, 2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert hsic(masks, values).max() < 3 / 2000
    assert hsic(masks, values + 5 * masks[:, 0]).argmax() == 0


def test_it_sees_a_spread_that_no_mean_shows():
    # all combinations of five cells; f = +-1 by the others where cell 0 is seen, and 0 where not: its mean is 0 in both
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5)), dtype=torch.float64)
    signs = 2 * masks - 1
    f = masks[:, 0] * signs[:, 1] * signs[:, 2]
    assert (f @ signs).abs().max() == 0
    estimates = hsic(masks, f[None])[0]
    # f is 0 sixteen times, 1 and -1 eight times each; of 496 pairs 176 are equal and 256 are 1 apart: the width is 1
    sixteen, apart, twice = 16**2, math.exp(-0.5), math.exp(-2)
    expected = (sixteen + sixteen / 2 * (1 + twice) - 2 * sixteen * apart) / 2 / 31**2
    assert_close(estimates[0].item(), expected, rtol=1e-12, atol=0)
    # a parity is independent of each single cell, and the others act only through it
    assert_close(estimates[1:], torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-15)


def test_each_cell_is_seen_in_half_of_the_masks():
    for n in (2, 7, 50):
        assert torch.equal(balanced(n, 30, 0).sum(0), torch.full((30,), float(n // 2), dtype=torch.float64))
    signs = 2 * balanced(4000, 20, 0) - 1
    # cells are independent: correlations like those of 4000 coin flips
    correlation = (signs.T @ signs / 4000 - torch.eye(20, dtype=torch.float64)).abs().max()
    assert correlation < 5 / 4000**0.5


def test_a_constant_depends_on_nothing(cases):
    case = cases["plain"]
    constant = output(lambda scores: torch.full_like(scores[:, 0], 3))
    values = HSICAttribution(10, 2)(case.flat, case.x, constant).values
    assert_close(values, torch.zeros_like(values), rtol=0, atol=1e-15)


def test_options_out_of_range_are_refused(cases):
    case = cases["plain"]
    with pytest.raises(NetLensError, match="n_masks is 1, but must be a whole number of at least 2"):
        HSICAttribution(1)(case.flat, case.x, logit(0))
    with pytest.raises(NetLensError, match="grid_size is -2, but must be a whole number of at least 1"):
        HSICAttribution(grid_size=-2)(case.flat, case.x, logit(0))
