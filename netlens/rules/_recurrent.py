"""Recurrent layers written out: each step of the sequence as linear maps, sigmoids, tanhs, products and sums.

A fused layer becomes a small network on its own weights, and rules know every piece of this network. The complement of
a gate, 1 - sigmoid(a), is written as sigmoid(-a), which is a gate, too.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

RECURRENT: tuple[type[nn.Module], ...] = (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)

State = tuple[Tensor, ...]
"""The state that one step passes to the next: hidden values (N, H), and for an LSTM the values of its cells."""


def is_recurrent(layer: nn.Module) -> bool:
    """Whether a layer is a recurrent layer of torch, with the forward of that type."""
    kinds = (kind for kind in RECURRENT if isinstance(layer, kind))
    return any(type(layer).forward is kind.forward for kind in kinds) and not layer._forward_pre_hooks


def given(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a call by name: the input, and the state before it. A call without a state starts at 0."""
    found = inspect.signature(type(layer).forward).bind(layer, *args, **kwargs).arguments
    x, before = found["input"], found.get("hx")
    if before is None:
        before = _nothing(layer, x)
    names = ("hidden", "cell") if isinstance(layer, (nn.LSTM, nn.LSTMCell)) else ("hidden",)
    return {"input": x, **dict(zip(names, [before] if isinstance(before, Tensor) else before, strict=True))}


def form(layer: Any, values: Mapping[str, Tensor]) -> tuple[int, bool] | None:
    """The number of steps of a call, and whether it reads a batch. None for a cell, which makes one step."""
    x = values["input"]
    if isinstance(layer, nn.RNNCellBase):
        return None
    return x.shape[1 if layer.batch_first and x.ndim == 3 else 0], x.ndim == 3


def written(layer: nn.Module, form: tuple[int, bool] | None) -> nn.Module:
    """A module on the weights of the layer that computes the same from the tensors of a call of this form."""
    return _Cell(layer) if form is None else _Sequence(layer, *form)


def weights_of(layer: nn.Module) -> list[Tensor]:
    """All current weights and biases of a recurrent layer."""
    return [getattr(layer, name) for name in _names(layer)]


def _names(layer: Any) -> list[str]:
    if isinstance(layer, nn.RNNCellBase):
        return ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if layer.bias else [])]
    return [name for names in layer._all_weights for name in names]


def _nothing(layer: Any, x: Tensor) -> Any:
    """The state before the first step of a call without a state: zeros."""
    if isinstance(layer, nn.RNNCellBase):
        hidden = x.new_zeros(*x.shape[:-1], layer.hidden_size)
        return (hidden, hidden) if isinstance(layer, nn.LSTMCell) else hidden
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    batch = (x.shape[0 if layer.batch_first else 1],) if x.ndim == 3 else ()
    hidden = x.new_zeros(count, *batch, layer.proj_size or layer.hidden_size)
    return (hidden, x.new_zeros(count, *batch, layer.hidden_size)) if isinstance(layer, nn.LSTM) else hidden


class _Step(nn.Module, ABC):
    """Abstract: one step of one layer in one direction. The names of its weights end with `suffix`."""

    def __init__(self, layer: Any, suffix: str = "") -> None:
        super().__init__()
        self.input = _linear(layer, f"ih{suffix}")
        self.hidden = _linear(layer, f"hh{suffix}")
        self.project = _linear(layer, f"hr{suffix}") if getattr(layer, "proj_size", 0) else None

    @abstractmethod
    def forward(self, read: Tensor, state: State) -> State:
        """The next state. `read` (N, gates * H) is the part of the gates that comes from the input."""

    @staticmethod
    def parts(gates: Tensor, count: int) -> list[Tensor]:
        """The values (N, H) of each gate."""
        split = torch.chunk(gates, count, -1)  # one layer, so that the gradient comes back in one piece
        return [split[i] for i in range(count)]


class _Plain(_Step):
    def __init__(self, layer: Any, suffix: str = "") -> None:
        super().__init__(layer, suffix)
        self.activation = nn.ReLU() if layer.nonlinearity == "relu" else nn.Tanh()

    def forward(self, read: Tensor, state: State) -> State:
        return (self.activation(read + self.hidden(state[0])),)


class _Long(_Step):
    def forward(self, read: Tensor, state: State) -> State:
        enter, forget, new, leave = self.parts(read + self.hidden(state[0]), 4)
        cell = torch.sigmoid(forget) * state[1] + torch.sigmoid(enter) * torch.tanh(new)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        return (hidden if self.project is None else self.project(hidden)), cell


class _Gated(_Step):
    def forward(self, read: Tensor, state: State) -> State:
        pairs = zip(self.parts(read, 3), self.parts(self.hidden(state[0]), 3), strict=True)
        (reset, before_reset), (keep, before_keep), (new, before_new) = pairs
        keep = keep + before_keep
        new = torch.tanh(new + torch.sigmoid(reset + before_reset) * before_new)
        return (torch.sigmoid(keep) * state[0] + torch.sigmoid(-keep) * new,)


_STEPS: tuple[tuple[type[nn.Module], ...], ...] = ((nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell))


def _step(layer: nn.Module, suffix: str = "") -> _Step:
    kind = _Long if isinstance(layer, _STEPS[0]) else _Gated if isinstance(layer, _STEPS[1]) else _Plain
    return kind(layer, suffix)


class _Cell(nn.Module):
    """One step, for cells."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.step = _step(layer)

    def forward(self, input: Tensor, hidden: Tensor, cell: Tensor | None = None) -> Any:
        state = (hidden,) if cell is None else (hidden, cell)
        after = self.step(self.step.input(input), state)
        return after[0] if cell is None else after


class _Sequence(nn.Module):
    """All steps of all layers in all directions, for sequences of one length.

    `batched` says that sequences come as (L, N, C) or (N, L, C), as the layer says, and not as one sequence (L, C).
    """

    def __init__(self, layer: Any, length: int, batched: bool) -> None:
        super().__init__()
        self.length, self.batched, self.first = length, batched, layer.batch_first and batched
        ways = ("", "_reverse") if layer.bidirectional else ("",)
        self.steps = nn.ModuleList(
            nn.ModuleList(_step(layer, f"_l{depth}{way}") for way in ways) for depth in range(layer.num_layers)
        )

    def forward(self, input: Tensor, hidden: Tensor, cell: Tensor | None = None) -> Any:
        x = input.transpose(0, 1) if self.first else input
        before = [value if self.batched else value.unsqueeze(1) for value in (hidden, cell) if value is not None]
        x = x if self.batched else x.unsqueeze(1)
        last: list[State] = []
        for ways in self.steps:
            seen = []
            for step, backwards in zip(ways, (False, True), strict=False):  # type: ignore[call-overload]
                start = tuple(value[len(last)] for value in before)
                outputs, state = self._along(step, x, start, backwards)
                seen.append(outputs)
                last.append(state)
            x = seen[0] if len(seen) == 1 else torch.cat(seen, -1)
        after = [torch.stack(values) for values in zip(*last, strict=True)]
        if not self.batched:
            x, after = x.squeeze(1), [value.squeeze(1) for value in after]
        output = x.transpose(0, 1) if self.first else x
        return output, (after[0] if len(after) == 1 else tuple(after))

    def _along(self, step: _Step, x: Tensor, state: State, backwards: bool) -> tuple[Tensor, State]:
        read: Sequence[Tensor] = torch.unbind(step.input(x))
        outputs = []
        places = range(self.length)
        for place in reversed(places) if backwards else places:
            state = step(read[place], state)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if backwards else outputs), state


def _linear(layer: Any, name: str) -> nn.Linear:
    """A linear map on the memory of the weights with this name in a layer."""
    weight, bias = getattr(layer, f"weight_{name}"), getattr(layer, f"bias_{name}", None)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return linear
