"""Messages say which parts could not be unrolled, where that matters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netlens import NetLens
from netlens.attribution import AttentionMap, DeepLift
from netlens.errors import LayerNotFound, NetLensWarning, NotApplicable
from netlens.flat import FlatModel, Rule, Rules
from netlens.flat.opacity import about_opaque
from netlens.objectives import logit, output


class Asks(nn.Sequential):
    """Asks for data, so that it stays whole."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > -1e9 else x


def flat() -> FlatModel:
    torch.manual_seed(0)
    parts = Asks(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), Asks(nn.Tanh())
    return FlatModel.from_nn_Module(nn.Sequential(nn.Linear(4, 4), *parts, nn.Linear(4, 2)))


def test_the_sentence_counts_the_layers_inside() -> None:
    sentence = about_opaque(flat(), "nothing looks inside")
    assert sentence.startswith(
        " 4 of 6 layers are inside '1' and 1 other part, which could not be unrolled: its control"
    )
    assert "x.sum() > -1e9" in sentence and sentence.endswith("; nothing looks inside.")
    assert about_opaque(flat(), "nothing", between=["2"]).startswith(" 1 of 6 layers is inside '2', which")
    assert about_opaque(flat(), "nothing", between=["0"]) == ""
    assert about_opaque(FlatModel.from_nn_Module(nn.Linear(2, 2)), "nothing") == ""


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda f: f.key("1.0"), LayerNotFound, "'1' is one layer, which could not be unrolled"),
        (lambda f: f.key(nn.ReLU), LayerNotFound, "There are some inside '1', which could not be unrolled"),
        (
            lambda f: f.with_rules(Rules({nn.ReLU: Rule(lambda layer, x, y, g: (g,))})),
            (LayerNotFound, NotApplicable),
            "4 of 6 layers are inside '1' and 1 other part.*; no rule reaches them",
        ),
        (
            lambda f: AttentionMap()(f, torch.rand(1, 4), logit(0)),
            NotApplicable,
            "4 of 6 layers are inside .*; no attention is seen in them",
        ),
    ],
)
def test_errors_name_the_part(ask: Callable[[FlatModel], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ask(flat())


def squared_sum(scores: Tensor) -> Tensor:
    return scores.square().sum(1)


def test_deep_lift_warns_if_it_is_not_complete() -> None:
    x = torch.rand(2, 4)
    squared = output(squared_sum)
    with pytest.warns(NetLensWarning, match=r"misses \d.*% of the change") as warned:
        attribution = DeepLift()(flat(), x, squared)
    assert re.search("inside '1'.*over them as over one function", str(warned[0].message))
    change = squared_sum(flat()(x)) - squared_sum(flat()(torch.zeros_like(x)))
    gap = attribution.values.sum(1) - change
    assert float(gap.abs().sum() / change.abs().sum()) > 1e-3
    DeepLift()(flat(), x, logit(0))  # no warning


class TakesAnotherBranch(nn.Module):
    """Asks for the type of a value, which a trace without an example gets wrong."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return y + 1 if isinstance(y, Tensor) else y


def test_a_lens_compares_the_flat_model_with_the_network() -> None:
    net, x = TakesAnotherBranch(), torch.rand(2, 4)
    assert torch.equal(NetLens(net, x).logits, net(x))
