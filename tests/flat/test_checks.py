"""Checks of torch in the code of a network: the flat model raises what the network raises, and where it raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netlens.flat import FlatModel

Ask = Callable[[Tensor], Any]


class Checked(nn.Module):
    """A network that checks the value of its first layer."""

    def __init__(self, check: Ask) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.check, self.last = nn.Linear(4, 4), check, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        self.check(y)
        out: Tensor = self.last(y)
        return out


OF_SHAPES: dict[str, Ask] = {
    "check": lambda x: torch._check(x.shape[1] < 6),
    "message": lambda x: torch._check(x.shape[1] < 6, lambda: f"{x.shape[1]} tokens are too many"),
    "text": lambda x: torch._check(x.shape[1] < 6, "too many tokens"),
    "value": lambda x: torch._check_value(x.shape[1] < 6),
    "type": lambda x: torch._check_type(x.shape[1] < 6),
    "index": lambda x: torch._check_index(x.shape[1] < 6),
    "not implemented": lambda x: torch._check_not_implemented(x.shape[1] < 6),
    "with": lambda x: torch._check_with(KeyError, x.shape[1] < 6, lambda: "too many"),
    "size": lambda x: torch._check_is_size(x.shape[1], max=5),
    "tensor": lambda x: torch._check_tensor_all(torch.arange(x.shape[1]) < 5),
    "assert": lambda x: torch._assert(x.shape[1] < 6, "too many tokens"),
}
OF_DATA: dict[str, Ask] = {
    "number": lambda x: torch._check((x.abs().max() < 1e3).item()),
    "tensor": lambda x: torch._check_tensor_all(x.abs() < 1e3),
    "assert": lambda x: torch._assert((x.abs() < 1e3).all(), "too large"),
    "asynchronous": lambda x: torch._assert_async((x.abs() < 1e3).all()),
}
FEW, MANY = torch.rand(2, 3, 4), torch.rand(2, 9, 4)


def error_of(network: nn.Module, x: Tensor) -> type[Exception]:
    with pytest.raises(Exception) as caught:
        network(x)
    return caught.type


# without an example, nothing answers what torch itself asks before these two checks
ALONG = [(name, FEW) for name in OF_SHAPES] + [(name, None) for name in OF_SHAPES if name not in ("size", "tensor")]


@pytest.mark.filterwarnings("ignore:`torch._check_is_size`", "ignore:_check_is_size")
@pytest.mark.parametrize(("name", "example"), ALONG)
def test_a_check_of_a_shape_leaves_nothing_opaque_and_raises_the_same_error(name: str, example: Tensor | None) -> None:
    network = Checked(OF_SHAPES[name])
    flat = FlatModel.from_nn_Module(network, example=example)
    assert list(flat.layers) == ["first", "last"]
    assert not flat.opaque
    for x in (FEW, torch.rand(5, 5, 4)):
        assert torch.equal(flat(x), network(x))
    assert error_of(flat, MANY) is error_of(network, MANY)


@pytest.mark.parametrize("name", OF_DATA)
def test_a_check_of_data_is_asked_of_each_input(name: str) -> None:
    network = Checked(OF_DATA[name])
    flat = FlatModel.from_nn_Module(network, example=FEW)
    assert list(flat.layers) == ["first", "last"]
    assert torch.equal(flat(MANY), network(MANY))
    assert error_of(flat, 1e9 * FEW) is error_of(network, 1e9 * FEW)


def test_a_check_is_no_assumption_because_the_network_makes_it_itself() -> None:
    flat = FlatModel.from_nn_Module(Checked(OF_SHAPES["check"]), example=FEW)
    assert not flat.assumptions


def test_a_run_to_a_layer_asks_only_what_the_network_asks_up_to_there() -> None:
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(4, 4), Checked(OF_SHAPES["value"])), example=FEW)
    assert flat(MANY, until="0").shape == MANY.shape
    with pytest.raises(ValueError, match=r"torch\._check_value"):
        flat(MANY)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("too many tokens", "too many tokens"),
        (lambda: "too many tokens", "too many tokens"),
        (None, "test_checks.py"),
    ],
)
def test_an_error_says_what_the_network_says_or_where_it_asks(message: Any, text: str) -> None:
    flat = FlatModel.from_nn_Module(Checked(lambda x: torch._check(x.shape[1] < 6, message)), example=FEW)
    with pytest.raises(RuntimeError, match=text):
        flat(MANY)


@pytest.mark.parametrize("form", ["{0}", "{0:.2f}"])
def test_a_message_that_quotes_a_value_gives_way_to_the_line(form: str) -> None:
    network = Checked(lambda x: torch._check(x.shape[1] < 6, lambda: form.format(x.mean())))
    flat = FlatModel.from_nn_Module(network, example=FEW)
    assert not flat.opaque
    with pytest.raises(RuntimeError, match=r"test_checks\.py"):
        flat(MANY)


def test_torch_checks_as_before_after_a_trace() -> None:
    before = torch._check_with
    FlatModel.from_nn_Module(Checked(OF_SHAPES["check"]), example=FEW)
    assert torch._check_with is before
    with pytest.raises(RuntimeError):
        torch._check(False)
