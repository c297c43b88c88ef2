"""Functionalization: in-place operations become pure steps. The key of a tensor names its current value."""

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
        layer: For a view, the layer that computes it from its base; else None.
        reads: For a view, the inputs of `layer`, the base first.
        stale: Whether the base has changed since the layer ran.
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
    a view, a `Scatter` step computes the new value of its base. If another view of the same base is read later, an
    `Again` step computes this view again. The caller drops steps that no other step reads, so an ordinary in-place
    layer adds no step.

    Args:
        append: A function that appends a step to the program.
    """

    def __init__(self, append: Callable[[Step], None]) -> None:
        self.append = append
        self.values: dict[fx.Node, _Value] = {}
        self.all_values: list[_Value] = []
        self.counts: dict[str, int] = {}

    def define(self, node: fx.Node, key: str, layer: nn.Module | None = None, reads: Sequence[fx.Node] = ()) -> None:
        """Record a new tensor with this key. If `layer` makes views, the tensor may share memory with `reads[0]`."""
        self.values[node] = self._value(key, layer, reads)

    def alias(self, node: fx.Node, original: fx.Node) -> None:
        """Record that `node` is the same tensor as `original`: an in-place operation returns its own input."""
        self.values[node] = self.values[original]

    def reshape(self, node: fx.Node, key: str, layer: nn.Module, reads: Sequence[fx.Node]) -> None:
        """Record that `layer` changes the shape of `reads[0]` in place, as `x.t_()` does. The node is the new view."""
        old, new = self.values[reads[0]], self._value(key, layer, reads)
        self.values = {reader: new if value is old else value for reader, value in self.values.items()}
        self.values[node] = new

    def key(self, node: fx.Node) -> str:
        """The key of the current value of a node. A view whose base has changed is computed again first."""
        return self._current_key(self.values[node])

    def share(self, a: fx.Node, b: fx.Node) -> bool:
        """Whether two nodes may share memory."""
        return self.values[a].root is self.values[b].root

    def overwrite(self, node: fx.Node, key: str) -> None:
        """Record that an in-place operation sets the tensor to the value at `key`. The base of a view changes, too."""
        value = self.values[node]
        root, written = value.root, [value]
        self._current_key(value)
        value.key = key
        while value.base is not None and value.layer is not None:
            other_keys = tuple(self._current_key(value_read) for value_read in value.reads[1:])
            scatter_key = self._numbered(f"{key}.scatter")
            reads = (self._current_key(value.base), value.key, *other_keys)
            self.append(Step(scatter_key, Scatter(copy.copy(value.layer)), reads))
            value = value.base
            value.key = scatter_key
            written.append(value)
        for candidate in self.all_values:
            if candidate not in written and candidate.root is root:
                candidate.stale = True

    def _value(self, key: str, layer: nn.Module | None, reads: Sequence[fx.Node]) -> _Value:
        value = _Value(key)
        if layer is not None and reads and is_view(layer):
            value = _Value(key, layer, tuple(self.values[source] for source in reads))
        self.all_values.append(value)
        return value

    def _current_key(self, value: _Value) -> str:
        if value.stale and value.layer is not None:
            reads = tuple(self._current_key(source) for source in value.reads)
            key = self._numbered(f"{value.key}.again")
            self.append(Step(key, Again(copy.copy(value.layer)), (value.key, *reads)))
            value.key = key
        value.stale = False
        return value.key

    def _numbered(self, stem: str) -> str:
        self.counts[stem] = self.counts.get(stem, 0) + 1
        return stem if self.counts[stem] == 1 else f"{stem}_{self.counts[stem] - 1}"
