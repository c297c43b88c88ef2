"""Selections by rank have an exact rule: complete for each output alone, every multiplier within [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.flat import FlatModel
from netlens.rules.rescale import rescale
from netlens.rules.selections import by_rank

SELECTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sort": lambda x: x.sort(-1)[0],
    "sort by axis": lambda x: torch.sort(x, descending=True).values,
    "msort": lambda x: torch.msort(x.mT).mT,
    "topk": lambda x: x.topk(3).values,
    "smallest": lambda x: x.topk(2, largest=False, sorted=False)[0],
    "kthvalue": lambda x: x.kthvalue(4, -1, True).values,
    "median": lambda x: x.median(-1, keepdim=True).values,
    "max": lambda x: (lambda largest: largest.values + 0 * largest.indices)(x.max(-1, keepdim=True)),
    "min": lambda x: x.min(1, keepdim=True)[0],
}


class Calls(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def pairs() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(40, 7, dtype=torch.float64, generator=generator) for _ in range(2)]
    whole = [torch.randint(0, 4, (40, 7), generator=generator).double() for _ in range(2)]  # with ties
    still = torch.where(torch.rand(40, 7, generator=generator) < 0.5, drawn[0], drawn[1])
    return [tuple(drawn), tuple(whole), (drawn[0], still), (drawn[0], 0 * drawn[0])]  # type: ignore[list-item]


@pytest.mark.parametrize("name", SELECTIONS)
def test_each_output_is_complete_and_no_multiplier_leaves_the_unit_interval(name: str) -> None:
    network = Calls(SELECTIONS[name])
    flat = FlatModel.from_nn_Module(network)
    for x, before in pairs():
        view, point = flat.with_rules(rescale(flat, before)), x.clone().requires_grad_()
        outputs = view(point)
        for rank in range(outputs.shape[-1]):
            (multipliers,) = torch.autograd.grad(outputs[:, rank].sum(), point, retain_graph=True)
            rise = network(x)[:, rank] - network(before)[:, rank]
            assert_close((multipliers * (x - before)).sum(1), rise, rtol=1e-12, atol=1e-14)
            assert multipliers.min() >= 0 and multipliers.max() <= 1 + 1e-12


def test_what_does_not_change_keeps_its_derivative() -> None:
    x = pairs()[0][0]
    flat = FlatModel.from_nn_Module(Calls(SELECTIONS["sort"]))
    view, point, plain = flat.with_rules(rescale(flat, x)), x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.arange(7.0, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((view(point) * weights).sum(), point)
    (expected,) = torch.autograd.grad((plain.sort(-1)[0] * weights).sum(), plain)
    assert_close(gradient, expected, rtol=0, atol=0)


def test_a_median_that_others_overtake_by_hand() -> None:
    # the median rises from 2 to 3. It was at the first place, which has fallen, and is at the second, which has fallen,
    # too: only the last two have gone from at most 2 to at least 3, by 5 and by 10, and each takes half of the rise
    x, before = torch.tensor([0.0, 3.0, 1.0, 5.0, 10.0]).double(), torch.tensor([2.0, 4.0, 5.0, 0.0, 0.0]).double()
    (out, here), (then, there) = x.median(0, keepdim=True), before.median(0, keepdim=True)
    multipliers = by_rank(x, before, out, then, here, there, torch.ones(1).double())
    assert_close(multipliers, torch.tensor([0, 0, 0, 0.5 / 5, 0.5 / 10]).double())
    assert_close((multipliers * (x - before)).sum(), (out - then)[0])
