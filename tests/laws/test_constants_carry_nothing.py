"""What is made of an activation's shape or type alone is a constant to every set of rules; a copy is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import LRP, DeepLift, DeepLiftShap, ExcitationBackprop, Method
from netlens.flat import FlatModel
from netlens.objectives import logit

METHODS: dict[str, Method] = {
    "deep_lift": DeepLift(baselines=0.3),
    "deep_lift_shap": DeepLiftShap(n_samples=2),
    "excitation": ExcitationBackprop(),
    **{composite: LRP(composite) for composite in ("epsilon", "epsilon_plus", "epsilon_alpha2_beta1")},
}


class Net(nn.Module):
    def __init__(self, operation: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.operation = operation
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)
        for name in ("one", "two"):
            self.register_buffer(name, torch.full((1, 6), 1.0 if name == "one" else 2.0))
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.operation(self.first(x).relu(), self))


Pair = tuple[Callable[[Tensor, nn.Module], Tensor], Callable[[Tensor, nn.Module], Tensor]]
CONSTANTS: dict[str, Pair] = {
    "ones_like": (lambda x, net: x * torch.ones_like(x), lambda x, net: x * net.one),
    "new_ones": (lambda x, net: x + x.new_ones(x.shape), lambda x, net: x + net.one),
    "new_tensor": (lambda x, net: x * x.new_tensor([2.0]), lambda x, net: x * net.two),
    "full_like": (
        lambda x, net: torch.maximum(x, torch.full_like(x, 0.5)),
        lambda x, net: torch.maximum(x, net.two / 4),
    ),
    "new_full": (lambda x, net: x / x.new_full((1, 6), 2.0), lambda x, net: x / net.two),
    "zeros_like": (lambda x, net: x * (1 - torch.zeros_like(x)), lambda x, net: x * (1 - 0 * net.one)),
}
COPIES: dict[str, Pair] = {
    "detach": (lambda x, net: x + x.detach(), lambda x, net: x + x.clone()),
    "data": (lambda x, net: x.data * 2, lambda x, net: x.clone() * 2),
    "a detached gate": (lambda x, net: x * x.sigmoid().detach(), lambda x, net: x * x.sigmoid().clone()),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*CONSTANTS, *COPIES])
def test_constants_are_buffers_and_copies_are_the_thing_itself(name: str, method: str) -> None:
    spelled, meant = (Net(operation) for operation in (CONSTANTS | COPIES)[name])
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_close(spelled(x), meant(x), rtol=0, atol=0)
    values, expected = (METHODS[method](FlatModel.from_nn_Module(net), x, logit(1)).values for net in (spelled, meant))
    assert values.abs().max() > 0
    assert_close(values, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_integers_on_the_way_raise_nothing(method: str) -> None:
    def chosen(x: Tensor, net: nn.Module) -> Tensor:
        return x + x.gather(1, x.detach().argmax(1, keepdim=True) * 0) * (
            nn.functional.one_hot(x.argmax(1)).sum() * 0 + 1
        )

    x = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(METHODS[method](FlatModel.from_nn_Module(Net(chosen)), x, logit(1)).values).all()


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
def test_a_root_of_nothing_has_no_relevance(composite: str) -> None:
    x = torch.tensor([[0.0, 4.0, 9.0, 0.0, 1.0]]).double()
    net = nn.Sequential(nn.Identity(), Root(), nn.Linear(5, 3)).double()
    values = LRP(composite)(FlatModel.from_nn_Module(net), x, logit(1)).values
    assert torch.isfinite(values).all() and (values[x == 0] == 0).all() and (values[x > 0] != 0).all()


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()
