"""In-place operations made pure: which key holds a tensor's current value, through views and overwriting."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import fx, nn

from netlens.flat.layers import Again, Scatter
from netlens.flat.operations import is_view
from netlens.flat.step import Step


@dataclass(eq=False)
class _Value:
    """A tensor of the traced network: the key of its present value and, for a view, how it is seen from its base."""

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
    """Keeps, for every node of the trace, the key that holds its value *now*.

    An in-place operation becomes a pure step whose result replaces the tensor's value. If the tensor is a view, the
    tensor behind it becomes a `Scatter` of the new value, and the other views of that tensor are taken `Again` when
    they are next read. Steps that nobody reads afterwards are dropped by the caller, so ordinary in-place layers cost
    nothing.
    """

    def __init__(self, append: Callable[[Step], None]) -> None:
        self.append = append
        self.values: dict[fx.Node, _Value] = {}
        self.all: list[_Value] = []
        self.made: dict[str, int] = {}

    def define(self, node: fx.Node, key: str, layer: nn.Module | None = None, reads: Sequence[fx.Node] = ()) -> None:
        """A new tensor at `key`; when `layer` makes views, it may share memory with the first tensor that it reads."""
        self.values[node] = self._value(key, layer, reads)

    def same(self, node: fx.Node, other: fx.Node) -> None:
        """`node` is another name of the tensor `other`, as an in-place operation returns its own input."""
        self.values[node] = self.values[other]

    def reseen(self, node: fx.Node, key: str, layer: nn.Module, reads: Sequence[fx.Node]) -> None:
        """From now on the first of `reads`, by all its names, is the view of itself that `layer` makes (`x.t_()`)."""
        old, new = self.values[reads[0]], self._value(key, layer, reads)
        self.values = {name: new if value is old else value for name, value in self.values.items()}
        self.values[node] = new

    def key(self, node: fx.Node) -> str:
        """The key of the node's present value; a view of a tensor that has changed since is taken anew."""
        return self._fresh(self.values[node])

    def share(self, node: fx.Node, other: fx.Node) -> bool:
        """Whether two nodes may be the same memory."""
        return self.values[node].root is self.values[other].root

    def overwrite(self, node: fx.Node, key: str) -> None:
        """The tensor now holds the value at `key`, and so does the memory that it is a view of."""
        value = self.values[node]
        root, written = value.root, [value]
        self._fresh(value)
        value.key = key
        while value.base is not None and value.layer is not None:
            others = tuple(self._fresh(read) for read in value.reads[1:])
            scattered = self._numbered(f"{key}.scatter")
            self.append(Step(scattered, Scatter(copy.copy(value.layer)), (self._fresh(value.base), value.key, *others)))
            value = value.base
            value.key = scattered
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

    def _fresh(self, value: _Value) -> str:
        if value.stale and value.layer is not None:
            reads = tuple(self._fresh(read) for read in value.reads)
            key = self._numbered(f"{value.key}.again")
            self.append(Step(key, Again(copy.copy(value.layer)), (value.key, *reads)))
            value.key = key
        value.stale = False
        return value.key

    def _numbered(self, stem: str) -> str:
        self.made[stem] = self.made.get(stem, 0) + 1
        return stem if self.made[stem] == 1 else f"{stem}_{self.made[stem] - 1}"
