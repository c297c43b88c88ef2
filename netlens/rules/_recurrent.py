"""Recurrent layers, written out: each step of the sequence as linear maps, sigmoids, tanhs, products and sums.

A fused layer becomes a small network that shares its weights. Rules know every piece of this network. The complement of
a gate, 1 - sigmoid(a), is written as sigmoid(-a), so that rules see a gate, too.
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
"""The state that one step passes to the next: hidden values (N, H), and for an LSTM also cell values (N, H)."""


def is_recurrent(layer: nn.Module) -> bool:
    """Whether a layer is a recurrent layer of torch with torch's own forward."""
    kinds = (kind for kind in RECURRENT if isinstance(layer, kind))
    return any(type(layer).forward is kind.forward for kind in kinds) and not layer._forward_pre_hooks


def call_tensors(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a call by name: the input and the initial state. If the call has no state, the state is zeros."""
    arguments = inspect.signature(type(layer).forward).bind(layer, *args, **kwargs).arguments
    x, state = arguments["input"], arguments.get("hx")
    if state is None:
        state = _zero_state(layer, x)
    names = ("hidden", "cell") if isinstance(layer, (nn.LSTM, nn.LSTMCell)) else ("hidden",)
    return {"input": x, **dict(zip(names, [state] if isinstance(state, Tensor) else state, strict=True))}


def form(layer: Any, values: Mapping[str, Tensor]) -> tuple[int, bool] | None:
    """The number of time steps, and whether the input is a batch of sequences. For a cell, the result is None."""
    x = values["input"]
    if isinstance(layer, nn.RNNCellBase):
        return None
    return x.shape[1 if layer.batch_first and x.ndim == 3 else 0], x.ndim == 3


def written(layer: nn.Module, form: tuple[int, bool] | None) -> nn.Module:
    """A module that shares the weights of the layer and gives the same output, for calls of this form."""
    return _Cell(layer) if form is None else _Sequence(layer, *form)


def weights_of(layer: nn.Module) -> list[Tensor]:
    """All current weights and biases of a recurrent layer."""
    return [getattr(layer, name) for name in _names(layer)]


def _names(layer: Any) -> list[str]:
    if isinstance(layer, nn.RNNCellBase):
        return ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if layer.bias else [])]
    return [name for names in layer._all_weights for name in names]


def _zero_state(layer: Any, x: Tensor) -> Any:
    """The initial state of a call that passes no state: zeros."""
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
    def forward(self, input_gates: Tensor, state: State) -> State:
        """The next state. `input_gates` (N, gates * H) is the part of the gates that comes from the input."""

    @staticmethod
    def split(gates: Tensor, count: int) -> list[Tensor]:
        """The values (N, H) of each gate."""
        split = torch.chunk(gates, count, -1)  # one chunk layer serves all gates, so that their gradient is one tensor
        return [split[i] for i in range(count)]


class _Plain(_Step):
    def __init__(self, layer: Any, suffix: str = "") -> None:
        super().__init__(layer, suffix)
        self.activation = nn.ReLU() if layer.nonlinearity == "relu" else nn.Tanh()

    def forward(self, input_gates: Tensor, state: State) -> State:
        return (self.activation(input_gates + self.hidden(state[0])),)


class _Long(_Step):
    def forward(self, input_gates: Tensor, state: State) -> State:
        enter, forget, new, leave = self.split(input_gates + self.hidden(state[0]), 4)
        cell = torch.sigmoid(forget) * state[1] + torch.sigmoid(enter) * torch.tanh(new)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        return (hidden if self.project is None else self.project(hidden)), cell


class _Gated(_Step):
    def forward(self, input_gates: Tensor, state: State) -> State:
        pairs = zip(self.split(input_gates, 3), self.split(self.hidden(state[0]), 3), strict=True)
        (reset, before_reset), (keep, before_keep), (new, before_new) = pairs
        keep = keep + before_keep
        new = torch.tanh(new + torch.sigmoid(reset + before_reset) * before_new)
        return (torch.sigmoid(keep) * state[0] + torch.sigmoid(-keep) * new,)


_STEPS: tuple[tuple[type[nn.Module], ...], ...] = ((nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell))


def _step(layer: nn.Module, suffix: str = "") -> _Step:
    kind = _Long if isinstance(layer, _STEPS[0]) else _Gated if isinstance(layer, _STEPS[1]) else _Plain
    return kind(layer, suffix)


class _Cell(nn.Module):
    """The one step of a recurrent cell."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.step = _step(layer)

    def forward(self, input: Tensor, hidden: Tensor, cell: Tensor | None = None) -> Any:
        state = (hidden,) if cell is None else (hidden, cell)
        new_state = self.step(self.step.input(input), state)
        return new_state[0] if cell is None else new_state


class _Sequence(nn.Module):
    """All steps of all layers in all directions, for sequences of the length L.

    If `batched`, the input is (N, L, C) for a layer with `batch_first`, and (L, N, C) for any other. Else it is one
    sequence (L, C).
    """

    def __init__(self, layer: Any, length: int, batched: bool) -> None:
        super().__init__()
        self.length, self.batched, self.batch_first = length, batched, layer.batch_first and batched
        suffixes = ("", "_reverse") if layer.bidirectional else ("",)
        self.steps = nn.ModuleList(
            nn.ModuleList(_step(layer, f"_l{depth}{suffix}") for suffix in suffixes)
            for depth in range(layer.num_layers)
        )

    def forward(self, input: Tensor, hidden: Tensor, cell: Tensor | None = None) -> Any:
        x = input.transpose(0, 1) if self.batch_first else input
        initial = [value if self.batched else value.unsqueeze(1) for value in (hidden, cell) if value is not None]
        x = x if self.batched else x.unsqueeze(1)
        final: list[State] = []
        for directions in self.steps:
            outputs_by_direction = []
            for step, backwards in zip(directions, (False, True), strict=False):  # type: ignore[call-overload]
                start = tuple(value[len(final)] for value in initial)
                outputs, state = self._run(step, x, start, backwards)
                outputs_by_direction.append(outputs)
                final.append(state)
            x = outputs_by_direction[0] if len(outputs_by_direction) == 1 else torch.cat(outputs_by_direction, -1)
        stacked = [torch.stack(values) for values in zip(*final, strict=True)]
        if not self.batched:
            x, stacked = x.squeeze(1), [value.squeeze(1) for value in stacked]
        output = x.transpose(0, 1) if self.batch_first else x
        return output, (stacked[0] if len(stacked) == 1 else tuple(stacked))

    def _run(self, step: _Step, x: Tensor, state: State, backwards: bool) -> tuple[Tensor, State]:
        input_gates: Sequence[Tensor] = torch.unbind(step.input(x))
        outputs = []
        positions = range(self.length)
        for position in reversed(positions) if backwards else positions:
            state = step(input_gates[position], state)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if backwards else outputs), state


def _linear(layer: Any, name: str) -> nn.Linear:
    """A linear map that shares the weight and the bias with this name in a recurrent layer."""
    weight, bias = getattr(layer, f"weight_{name}"), getattr(layer, f"bias_{name}", None)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return linear
