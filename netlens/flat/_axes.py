"""The dimension of the channels (or classes) of a value, from the operations that make it."""

from __future__ import annotations

from typing import Any

from torch import nn

from netlens.flat._moves import index_of, merges_samples
from netlens.flat.layers import Function, Select
from netlens.flat.operations import Relevance, Trait, innermost, name_of, operation_of
from netlens.flat.running import Program, Step

SQUEEZED = "squeezed"
"""The dimension of the channels is gone: the value has one number at each position."""

_PASSES_CHANNELS = Trait.ELEMENTWISE | Trait.MEETS | Trait.KEEPS | Trait.CASTS


def channel_axis(program: Program, key: str, ndim: int) -> int | str | None:
    """The dimension of the channels (or classes) of a value of `ndim` dimensions.

    Returns:
        The dimension; `SQUEEZED` if the network has dropped the only channel; None if the operations do not say.
    """
    axis = _Axes(program).axis(key, ndim)
    return axis % ndim if isinstance(axis, int) and ndim else axis


class _Axes:
    """The dimension of the channels of the values of a program, followed back to an operation that decides it."""

    def __init__(self, program: Program) -> None:
        self.steps = {step.key: step for step in program.steps}
        self.order = {key: position for position, key in enumerate(self.steps)}
        self.axes: dict[tuple[str, int], int | str | None] = {}

    def axis(self, key: str, ndim: int) -> int | str | None:
        if (key, ndim) not in self.axes:
            self.axes[key, ndim] = self._axis(key, ndim)
        return self.axes[key, ndim]

    def _axis(self, key: str, ndim: int) -> int | str | None:
        step = self.steps.get(key)
        if step is None or ndim < 1:
            return None
        inner = innermost(step.layer)
        name = name_of(inner)
        operation = operation_of(inner)
        if operation.has(Trait.CHANNELS_LAST):
            return -1
        if operation.has(Trait.CHANNELS_FIRST):
            return 1
        if operation.has(Trait.SOFTMAX | Trait.LOG_SOFTMAX):
            dim = getattr(inner, "dim", None) if not isinstance(inner, Function) else inner.kwargs.get("dim")
            return dim if isinstance(dim, int) else 1
        if not step.reads:
            return None
        if ndim == 3 and operation.relevance is Relevance.CONTRACTS:  # a product of tokens gives rows, not maps
            return -1
        if operation.has(_PASSES_CHANNELS) or (operation.has(Trait.JOINS) and name != "stack"):
            # the value computed last is the branch of a sum: its last layer says more than a long chain of sums
            latest = sorted(step.reads, key=lambda read: -self.order.get(read, -1))
            axes = (self.axis(read, ndim) for read in latest)
            return next((axis for axis in axes if axis is not None), None)
        return self._before_moves(step, inner, name, ndim) if isinstance(inner, Function | nn.Flatten) else None

    def _before_moves(self, step: Step, inner: Any, name: str, ndim: int) -> int | str | None:
        read = step.reads[0]
        args: list[Any] = list(inner.args[1:]) if isinstance(inner, Function) else [inner.start_dim]
        if name == "permute":
            order = [d % ndim for d in (args[0] if args and isinstance(args[0], (tuple, list)) else args)]
            if len(order) != ndim:
                return None
            axis = _at(self.axis(read, ndim), ndim)
            return order.index(axis) if isinstance(axis, int) else axis
        if name in {"transpose", "swapaxes"} and len(args) == 2:
            one, other = (d % ndim for d in args)
            axis = _at(self.axis(read, ndim), ndim)
            return {one: other, other: one}.get(axis, axis) if isinstance(axis, int) else axis
        if (
            (isinstance(inner, nn.Flatten) or name == "flatten") and args and args[0] == ndim - 1
        ):  # the positions become one dimension
            axis = self.axis(read, ndim + 1)
            return axis if isinstance(axis, int) and 0 <= axis < args[0] else None
        if name == "squeeze" and not merges_samples(inner):
            dim = args[0] if args else next(iter(inner.kwargs.values()))
            return _dropped(self.axis(read, ndim + 1), dim, ndim + 1) if isinstance(dim, int) else None
        if name == "squeeze":
            return self.axis(read, ndim)
        if isinstance(inner, Select) and name == "getitem":
            return self._selected(read, index_of(inner), ndim)
        return None

    def _selected(self, read: str, index: tuple[Any, ...], ndim: int) -> int | str | None:
        if any(not isinstance(item, (int, slice)) for item in index):
            return None
        dropped = [d for d, item in enumerate(index) if isinstance(item, int)]
        before = ndim + len(dropped)
        axis: int | str | None = self.axis(read, before)
        for dim in reversed(dropped):
            axis = _dropped(axis, dim, before)
            before -= 1
        return axis


def _at(axis: int | str | None, ndim: int) -> int | str | None:
    return axis % ndim if isinstance(axis, int) else axis


def _dropped(axis: int | str | None, dim: int, ndim: int) -> int | str | None:
    """The dimension of the channels after the dimension `dim` of `ndim` is dropped."""
    if not isinstance(axis, int):
        return axis
    axis, dim = axis % ndim, dim % ndim
    return SQUEEZED if axis == dim else axis - (axis > dim)
