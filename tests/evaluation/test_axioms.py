"""Axioms: one function written twice, and pixels that play an equal part. Cases by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import DeepLift, GuidedBackprop, InputXGradient, IntegratedGradients, Method, Saliency
from netlens.evaluation import Case, ConstantMap, Explanation, randomized
from netlens.evaluation.metrics import ImplementationInvariance, Symmetry, correlation
from netlens.flat import FlatModel
from netlens.objectives import logit
from tests.evaluation.linear import case, pictures, weights


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))
        return scores


@dataclass(frozen=True)
class Columns(Method):
    """Explains each pixel by a number of its column."""

    numbers: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0)

    def attribute(self, flat: FlatModel, x: Tensor, objective, wrt: str) -> Tensor:
        return torch.tensor(self.numbers).to(x).expand_as(x).clone()

    reduction = "signed"


@pytest.fixture(scope="module")
def normed() -> Case:
    flat = FlatModel.from_nn_Module(randomized(Normed(), seed=1).double())
    return Case(flat, pictures(2, side=8) - 0.5, logit([0, 2]))


@pytest.mark.parametrize("rewriting", ["rectifiers", "folded"])
def test_the_rewritten_network_is_the_same_function_and_has_the_same_gradient(normed, rewriting):
    metric = ImplementationInvariance(rewriting=rewriting)
    flat, x = metric.rewritten(normed)
    assert_close(flat(x), normed.flat(normed.x))
    assert str(flat.layers) != str(normed.flat.layers)
    for method in (Saliency(), InputXGradient(), IntegratedGradients(n_steps=8)):
        assert_close(metric(Explanation.of(normed, method)), torch.ones(2).double())


def test_guided_backprop_is_not_invariant():
    linear = nn.Linear(16, 2).double()
    with torch.no_grad():
        linear.weight.copy_(torch.linspace(-1, 1, 32).roll(5).view(2, 16))
        linear.bias.fill_(20)  # so that the rectifier behind lets everything through
    one = case(FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), linear, nn.ReLU())))
    # all pixels are above 0, so that the rectifier in front lets through what is above 0 of the gradient
    rewritten = weights(one.flat).clamp(min=0).flatten()
    expected = correlation(weights(one.flat).abs().flatten(), rewritten).expand(3)
    assert (expected < 0.99).all()
    assert_close(ImplementationInvariance()(Explanation.of(one, GuidedBackprop())), expected)


def test_equal_pixels_have_equal_relevance_by_methods_that_keep_the_axiom(normed):
    for method in (Saliency(), InputXGradient(), IntegratedGradients(n_steps=8), DeepLift(), ConstantMap()):
        assert_close(Symmetry()(Explanation.of(normed, method)), torch.zeros(2).double())


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.0, 1.0, 2.0, 3.0), math.sqrt(20) / (2 * math.sqrt(14))),  # apart by 3, 1, 1, 3
        ((1.0, 2.0, -2.0, -1.0), 1.0),
        ((1.0, 2.0, 2.0, 1.0), 0.0),
    ],
)
def test_symmetry_by_hand(numbers, expected):
    assert_close(Symmetry()(Explanation.of(case(), Columns(numbers))), torch.full((3,), expected).double())
