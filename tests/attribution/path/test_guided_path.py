"""The adaptive path: what it moves first, by hand, and the paths that it becomes at the ends of its options."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from netlens.attribution import GuidedIntegratedGradients, IntegratedGradients
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import logit


class _Product(nn.Module):
    """f(a, b) = a b + 10 a: along the straight path b has the smaller gradient."""

    def forward(self, x):
        a, b = x.unbind(1)
        return (a * b + 10 * a)[:, None]


def vector(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_the_smaller_gradient_moves_first():
    flat = FlatModel.from_nn_Module(_Product())
    # to (1, 1) in two steps of L1 distance 1: b alone, at gradients (10, 0); then a alone, at (0, 1): (11, 0)
    free = GuidedIntegratedGradients(2, fraction=0.5, max_dist=1.0)(flat, vector(1, 1), logit(0))
    assert free.values.tolist() == [[11.0, 0.0]]
    assert free.diagnostics["completeness_gap"].tolist() == [0.0]
    # to (1, 3), whose distance is 4: b moves by 2, then, at (10, 0), by 1; a at b = 2, where its gradient is 12
    assert GuidedIntegratedGradients(2, fraction=0.5, max_dist=1.0)(flat, vector(1, 3), logit(0)).values.tolist() == [
        [12.0, 0.0]
    ]
    # b may run ahead by a quarter of its way: to 3/4, so a goes to 1/4; then both go on from gradients (10.75, 0.25)
    near = GuidedIntegratedGradients(2, fraction=0.5, max_dist=0.25)(flat, vector(1, 1), logit(0))
    assert near.values.tolist() == [[0.25 * 10 + 0.75 * 10.75, 0.25 * 0.25]]


@pytest.mark.parametrize("name", ["plain", "branches", "vit", "vectors"])
def test_on_a_short_leash_it_is_integrated_gradients(cases, name):
    case = cases[name]
    ours = GuidedIntegratedGradients(6, baselines=0.2, max_dist=0.0)(case.flat, case.x, logit(0)).values
    straight = IntegratedGradients(6, baselines=0.2, quadrature="riemann_left")(case.flat, case.x, logit(0)).values
    assert_close(ours, straight, rtol=1e-8, atol=1e-12)


class _Ring(nn.Module):
    """f(x) = sum of w_i x_i x_(i+1), around."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2, 3, -1, 2, 0.5, -3, 1.5], dtype=torch.float64))

    def forward(self, x):
        return (self.weight * x * x.roll(-1, 1)).sum(1, keepdim=True)


# by the authors' own code (the package saliency 0.2.1): steps, fraction, max_dist and its values
AUTHORS = [
    (7, 0.25, 0.02, [2.399009577781, 0.520183519243, -2.681767700087, -1.85249951094,
                     -0.431322903226, -0.400515774194, -7.448284560344, -2.838393243243]),
    (7, 0.25, 0.3, [3.890783038015, 1.054156183782, -0.351166081738, -5.567049062787,
                    -0.089243671436, -0.068541251509, -12.69272653828, -0.064204334455]),
    (5, 0.5, 1.0, [4.183867073235, 0.651570912258, 0.282993197279, -6.195287421508,
                   -0.178461069655, 0.101538930345, -13.622207205663, 0.375]),
]  # fmt: skip


@pytest.mark.parametrize(("n_steps", "fraction", "max_dist", "expected"), AUTHORS)
def test_it_is_what_the_authors_code_gives(n_steps, fraction, max_dist, expected):
    x = vector(1, 0.5, -1, 2, 0.25, -0.75, 1.5, 3)
    baseline = vector(0.1, 0, 0.2, 0, -0.1, 0.3, 0, 0.5)
    method = GuidedIntegratedGradients(n_steps, baseline, fraction, max_dist)
    values = method(FlatModel.from_nn_Module(_Ring()), x, logit(0)).values
    assert_close(values, vector(*expected), rtol=0, atol=1e-11)


@pytest.mark.parametrize("wrt", ["input", "trunk.2"])
def test_on_a_longer_leash_it_misses_more_of_the_change(cases, wrt):
    case = cases["plain"]
    straight = IntegratedGradients(100)(case.flat, case.x / 4, logit(2), wrt=wrt)
    change = straight.values.flatten(1).sum(1) - straight.diagnostics["completeness_gap"]
    gaps = []
    for leash in (0.3, 0.005):
        result = GuidedIntegratedGradients(300, max_dist=leash)(case.flat, case.x / 4, logit(2), wrt=wrt)
        gaps.append(result.diagnostics["completeness_gap"])
        assert_close(gaps[-1], result.values.flatten(1).sum(1) - change, rtol=0, atol=1e-12)
    assert (gaps[1].abs() < gaps[0].abs() / 10).all() and (gaps[1].abs() < 0.03 * change.abs()).all()


def test_on_a_longer_leash_it_meets_smaller_gradients(cases):
    case = cases["plain"]
    methods = [GuidedIntegratedGradients(100, max_dist=leash) for leash in (0.3, 0.1, 0.02)]
    sizes = [
        method(case.flat, case.x / 4, logit(2)).values.abs().flatten(1).sum(1)
        for method in (*methods, IntegratedGradients(100))
    ]
    for smaller, larger in pairwise(sizes):
        assert (smaller < 0.98 * larger).all()


def test_what_equals_the_baseline_gets_nothing(cases):
    case = cases["plain"]
    x = case.x.clone()
    x[:, 1] = 0
    values = GuidedIntegratedGradients(10)(case.flat, x, logit(0)).values
    assert values[:, 1].abs().max() == 0 and values.abs().max() > 0
    nowhere = GuidedIntegratedGradients(10, baselines=case.x)(case.flat, case.x, logit(0))
    assert nowhere.values.abs().max() == 0


def test_options_out_of_range():
    for name, value in (("fraction", 0), ("fraction", 1.5), ("max_dist", -0.1), ("n_steps", 0)):
        with pytest.raises(NetLensError, match=f"{name} is {value}, but must be"):
            GuidedIntegratedGradients(**{name: value})
