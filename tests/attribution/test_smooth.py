"""Noise of the papers' deviation, and the statistics of what a method says about each noisy copy."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    METHODS,
    GradCAM,
    GuidedBackprop,
    InputGradient,
    InputXGradient,
    IntegratedGradients,
    SmoothGradient,
    SmoothGradientSquared,
    VarGrad,
    chunks_of,
)
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit
from tests.small import small


def noises(x: Tensor, n: int, level: float, seed: int) -> list[Tensor]:
    """The noisy copies themselves, read off a network whose gradient at x is x."""
    square = FlatModel.from_nn_Module(_HalfSquare())
    values = [
        SmoothGradient(n_samples=i, noise_level=level, seed=seed)(square, x, logit(0)).values for i in range(1, n + 1)
    ]
    sums = [value * (i + 1) for i, value in enumerate(values)]
    return [b - a for a, b in zip([torch.zeros_like(x), *sums[:-1]], sums, strict=True)]


class _HalfSquare(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * x).flatten(1).sum(1, keepdim=True) / 2


def test_the_noise_has_the_papers_deviation():
    x = torch.rand(2, 1, 60, 60, dtype=torch.float64) * torch.tensor([1.0, 50.0]).view(2, 1, 1, 1)
    copies = noises(x, 4, 0.2, seed=3)
    for i in range(2):
        span = x[i].max() - x[i].min()
        noise = torch.stack([copy[i] - x[i] for copy in copies])
        assert_close(noise.std(), 0.2 * span, rtol=0.03, atol=0)
        assert noise.mean().abs() < 0.01 * span
    assert not torch.allclose(copies[0], copies[1])
    # a second seed shares no copy with the first
    others = noises(x, 4, 0.2, seed=4)
    assert not any(torch.allclose(a, b) for a in copies for b in others)


def test_mean_square_and_variance_over_the_same_copies(cases):
    case = cases["branches"]
    objective = logit(list(case.targets))
    options = {"n_samples": 6, "noise_level": 0.3, "seed": 5}
    gradients = [InputGradient()(case.flat, copy, objective).values for copy in noises(case.x, 6, 0.3, seed=5)]
    stacked = torch.stack(gradients)
    for method, expected in (
        (SmoothGradient, stacked.mean(0)),
        (SmoothGradientSquared, stacked.square().mean(0)),
        (VarGrad, stacked.var(0, correction=0)),
    ):
        assert_close(method(**options)(case.flat, case.x, objective).values, expected, rtol=1e-7, atol=1e-10)


def test_without_noise_it_is_the_method_itself(cases):
    case = cases["branches"]
    for inner in (InputXGradient(), GuidedBackprop(), GradCAM(), IntegratedGradients(3)):
        plain = inner(case.flat, case.x, logit(1))
        smooth = SmoothGradient(n_samples=2, noise_level=0, method=inner)(case.flat, case.x, logit(1))
        assert_close(smooth.values, plain.values)
        assert smooth.reduction == plain.reduction and smooth.provenance.layer == plain.provenance.layer
        assert VarGrad(n_samples=2, noise_level=0, method=inner)(case.flat, case.x, logit(1)).values.abs().max() < 1e-20


def test_a_baseline_per_sample_stays_with_its_sample(cases):
    case = cases["plain"]
    objective = logit(list(case.targets))
    inner = IntegratedGradients(3, baselines=case.x.flip(0) / 3)
    plain = inner(case.flat, case.x, objective).values
    for method in (inner, SmoothGradient(n_samples=2, noise_level=0, method=inner)):
        for chunk in (1, 2, 100):
            smooth = SmoothGradient(n_samples=3, noise_level=0, method=method)
            with chunks_of(chunk):
                assert_close(smooth(case.flat, case.x, objective).values, plain)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", ["vit", "branches"])
def test_any_method_can_be_smoothed(cases, name, family):
    case, inner = cases[family], small(name)
    objective = logit(list(case.targets))
    try:
        plain = inner(case.flat, case.x, objective)
    except NotApplicable as refusal:
        with pytest.raises(NotApplicable, match=re.escape(str(refusal))):
            SmoothGradient(n_samples=2, method=inner)(case.flat, case.x, objective)
        return
    smooth = SmoothGradient(n_samples=3, noise_level=0, method=inner)(case.flat, case.x, objective)
    assert_close(smooth.values, plain.values, rtol=1e-9, atol=1e-11)
    assert smooth.reduction == plain.reduction and smooth.provenance.layer == plain.provenance.layer
    assert (smooth.maps is None) == (plain.maps is None)
