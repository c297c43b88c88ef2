"""A rule serves every layer: of several outputs, called with sizes or tuples, of complex numbers, or of a constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import LRP
from netlens.flat import FlatModel, Rule, Rules, vjp
from netlens.objectives import logit


class Calls(nn.Module):
    """A network that is one function of its input."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def again(layer: nn.Module, inputs: Sequence[Tensor], output: Any, gradient: Any) -> Sequence[Tensor | None]:
    """The true gradient, of the layer called once more."""
    with torch.enable_grad():
        return vjp(layer(*inputs), inputs, gradient)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "several": lambda x: torch.var_mean(x, 1)[0],
    "a named tuple": lambda x: x.sort(1).values[:, :2] * x.topk(2, 1)[0],
    "sizes": lambda x: F.layer_norm(x, x.shape[1:]),
    "a tuple read": lambda x: torch.stack(x.chunk(2, 1)).prod(0) + torch.cat(x.split(1, 1), 1).mean(),
    "complex": lambda x: torch.fft.rfft2(x).abs(),
    "constants": lambda x: x * torch.ones_like(x) + x.new_tensor([2.0]) + torch.zeros_like(x),
    "integers": lambda x: x.gather(1, x.argmax(1, keepdim=True)) * F.one_hot(x.argmax(1), 4).sum(),
    "detached": lambda x: x * x.detach(),
}


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_true_gradient_is_a_rule_of_every_layer(name: str, graph: bool) -> None:
    network = Calls(FUNCTIONS[name])
    true = Rule(
        (lambda layer, inputs, output, gradient: vjp(output, inputs, gradient)) if graph else again,
        graph=graph,
        several=True,
    )
    view = FlatModel.from_nn_Module(network).with_rules(Rules({nn.Module: true}))
    x, y = (drawn(3, 4, 6).requires_grad_() for _ in range(2))
    out, expected = view(x), network(y)
    assert_close(out, expected, rtol=1e-12, atol=1e-12)
    weights = drawn(*out.shape, seed=1)
    (gradients,), (wanted,) = torch.autograd.grad(out, x, weights), torch.autograd.grad(expected, y, weights)
    assert_close(gradients, wanted, rtol=1e-10, atol=1e-12)


def test_a_rule_sees_several_outputs_as_the_layer_gives_them() -> None:
    arguments: dict[str, Any] = {}

    def look(layer: nn.Module, inputs: Sequence[Tensor], output: Any, gradient: Any) -> Sequence[Tensor | None]:
        arguments.update(output=output, gradient=gradient)
        return vjp(output, inputs, gradient)

    network = Calls(lambda x: (x * 2).sort(1))
    view = FlatModel.from_nn_Module(network).with_rules(Rules({"sort": Rule(look, several=True)}))
    x = drawn(3, 4).requires_grad_()
    view(x)[0].sum().backward()
    assert arguments["output"].values.shape == (3, 4) and arguments["output"].indices.dtype == torch.int64
    assert arguments["gradient"].values.shape == (3, 4) and arguments["gradient"].indices is None
    assert_close(x.grad, torch.full_like(x, 2))


def test_a_rule_that_serves_one_output_leaves_layers_of_several_alone() -> None:
    stop = Rule(lambda layer, inputs, output, gradient: [torch.zeros_like(value) for value in inputs])
    view = FlatModel.from_nn_Module(Calls(lambda x: x.sort(1)[0] * 2)).with_rules(Rules({"sort": stop}))
    x = drawn(3, 4).requires_grad_()
    view(x).sum().backward()
    assert_close(x.grad, torch.full_like(x, 2))


def test_what_does_not_depend_on_an_input_carries_nothing_back() -> None:
    x = drawn(3, 4).requires_grad_()
    assert vjp(torch.ones(3), [x], torch.ones(3)) == (None,)
    assert vjp((x.argmax(1), 2 * x), [x, x.detach()], (None, None)) == (None, None)
    gradients = vjp((x.argmax(1), 2 * x), [x, x.detach()], (None, torch.ones_like(x)))
    assert gradients[0] is not None and gradients[1] is None and (gradients[0] == 2).all()


def test_relevance_of_a_layer_norm_whose_shape_is_that_of_its_input() -> None:
    class Net(nn.Module):
        def __init__(self, shape: Any) -> None:
            super().__init__()
            self.head, self.shape = nn.Linear(24, 3), shape

        def forward(self, x: Tensor) -> Tensor:
            shape = x.shape[1:] if self.shape is None else self.shape
            return self.head(F.layer_norm(x, shape).flatten(1))

    static, dynamic = Net((4, 6)).double(), Net(None).double()
    dynamic.load_state_dict(static.state_dict())
    values = [
        LRP("epsilon")(FlatModel.from_nn_Module(net), drawn(2, 4, 6), logit(1)).values for net in (static, dynamic)
    ]
    assert_close(values[0], values[1], rtol=1e-12, atol=1e-12)


class Two(nn.Module):
    """Kept whole: two linear maps of its input, of which one comes with indices."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = (nn.Linear(6, 6, bias=False).double() for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if float(x.detach().sum()) > -1e9:
            return self.one(x), x.argmax(-1), self.two(x)
        return x, x, x


TWO = Two()


class Sums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = TWO

    def forward(self, x: Tensor) -> Tensor:
        first, _, last = self.inner(x)
        return first + last


CONSERVING: dict[str, Callable[[Tensor], Tensor]] = {
    "sort": lambda x: x.sort(-1)[0],
    "a spectrum": lambda x: torch.fft.rfft2(x).abs(),
    "several outputs": Sums(),
}


@pytest.mark.parametrize("name", CONSERVING)
def test_relevance_is_conserved_through_several_outputs_and_complex_numbers(name: str) -> None:
    torch.manual_seed(0)
    head = nn.Linear(CONSERVING[name](drawn(1, 4, 6)).flatten(1).shape[1], 3, bias=False).double()
    net = nn.Sequential(Calls(CONSERVING[name]) if name != "several outputs" else Sums(), nn.Flatten(), head)
    x = drawn(2, 4, 6)
    values = LRP("epsilon", epsilon=0)(FlatModel.from_nn_Module(net), x, logit(1)).values
    assert_close(values.flatten(1).sum(1), net(x)[:, 1].detach(), rtol=1e-9, atol=1e-9)
