"""Functionalization: in-place operations become pure. Each tensor has a key of its current value."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import fx, nn

from netlens.flat.layers import Again, Scatter
from netlens.flat.operations import is_view
from netlens.flat.running import Step


@dataclass(eq=False)
class _Value:
    """A tensor of the traced network.

    Args:
        key: The key of its current value.
        layer: For a view, the layer that takes it from its base; else None.
        reads: For a view, the inputs of `layer`, the base first.
        stale: Whether the base has changed since the view was taken.
    """

    key: str
    layer: nn.Module | None = None
    reads: tuple[_Value, ...] = ()
    stale: bool = False

    @property
    def base(self) -> _Value | None:
        return self.reads[0] if self.reads else None

    @property
    def root(self) -> _Value:
        return self if self.base is None else self.base.root


class Aliases:
    """The key of the current value of each node of a trace.

    An in-place operation becomes a pure step, and its result becomes the current value of the tensor. If the tensor is
    a view, a `Scatter` step puts the new value into its base, and an `Again` step takes other views of the base again
    when they are read next. The caller drops steps that no other step reads, so an ordinary in-place layer adds none.

    Args:
        append: A function that appends a step to the program.
    """

    def __init__(self, append: Callable[[Step], None]) -> None:
        self.append = append
        self.values: dict[fx.Node, _Value] = {}
        self.all: list[_Value] = []
        self.counts: dict[str, int] = {}

    def define(self, node: fx.Node, key: str, layer: nn.Module | None = None, reads: Sequence[fx.Node] = ()) -> None:
        """Record a new tensor at `key`. If `layer` makes views, the tensor may share memory with the first read."""
        self.values[node] = self._value(key, layer, reads)

    def same(self, node: fx.Node, other: fx.Node) -> None:
        """Record that `node` is the same tensor as `other`: an in-place operation returns its own input."""
        self.values[node] = self.values[other]

    def reshape(self, node: fx.Node, key: str, layer: nn.Module, reads: Sequence[fx.Node]) -> None:
        """Record that the first of `reads` becomes the view of itself that `layer` makes, as in `x.t_()`."""
        old, new = self.values[reads[0]], self._value(key, layer, reads)
        self.values = {other: new if value is old else value for other, value in self.values.items()}
        self.values[node] = new

    def key(self, node: fx.Node) -> str:
        """The key of the current value of a node. A view whose base has changed is taken again first."""
        return self._current_key(self.values[node])

    def share(self, node: fx.Node, other: fx.Node) -> bool:
        """Whether two nodes may share memory."""
        return self.values[node].root is self.values[other].root

    def overwrite(self, node: fx.Node, key: str) -> None:
        """Record that the tensor, and the memory behind it if it is a view, now holds the value at `key`."""
        value = self.values[node]
        root, written = value.root, [value]
        self._current_key(value)
        value.key = key
        while value.base is not None and value.layer is not None:
            others = tuple(self._current_key(read) for read in value.reads[1:])
            scatter_key = self._numbered(f"{key}.scatter")
            reads = (self._current_key(value.base), value.key, *others)
            self.append(Step(scatter_key, Scatter(copy.copy(value.layer)), reads))
            value = value.base
            value.key = scatter_key
            written.append(value)
        for other in self.all:
            if other not in written and other.root is root:
                other.stale = True

    def _value(self, key: str, layer: nn.Module | None, reads: Sequence[fx.Node]) -> _Value:
        value = _Value(key)
        if layer is not None and reads and is_view(layer):
            value = _Value(key, layer, tuple(self.values[read] for read in reads))
        self.all.append(value)
        return value

    def _current_key(self, value: _Value) -> str:
        if value.stale and value.layer is not None:
            reads = tuple(self._current_key(read) for read in value.reads)
            key = self._numbered(f"{value.key}.again")
            self.append(Step(key, Again(copy.copy(value.layer)), (value.key, *reads)))
            value.key = key
        value.stale = False
        return value.key

    def _numbered(self, stem: str) -> str:
        self.counts[stem] = self.counts.get(stem, 0) + 1
        return stem if self.counts[stem] == 1 else f"{stem}_{self.counts[stem] - 1}"
