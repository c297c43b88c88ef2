"""In-place operations made pure: which key holds a tensor's current value, through views and overwriting."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import fx, nn

from netlens.flat.layers import Scatter
from netlens.flat.lift import is_view
from netlens.flat.program import Step


@dataclass
class _Value:
    """A tensor of the traced network: the key of its present value and, for a view, how it is seen from its base."""

    key: str
    base: _Value | None = None
    layer: nn.Module | None = None
    reads: tuple[fx.Node, ...] = ()
    stale: bool = False


class Aliases:
    """Keeps, for every node of the trace, the key that holds its value *now*.

    An in-place operation becomes a pure step whose result replaces the tensor's value. If the tensor is a view, the
    tensor behind it becomes a `Scatter` of the new value, and the other views of that tensor are taken anew when they
    are next read. Steps that nobody reads afterwards are dropped by the caller, so ordinary in-place layers cost
    nothing.
    """

    def __init__(self, append: Callable[[Step], None]) -> None:
        self.append = append
        self.values: dict[fx.Node, _Value] = {}
        self.made: dict[str, int] = {}

    def define(self, node: fx.Node, key: str, layer: nn.Module | None = None, reads: Sequence[fx.Node] = ()) -> None:
        """A new tensor at `key`; when `layer` makes views, it shares memory with the first tensor that it reads."""
        value = _Value(key)
        if layer is not None and reads and is_view(layer):
            value.base, value.layer, value.reads = self.values[reads[0]], layer, tuple(reads)
        self.values[node] = value

    def same(self, node: fx.Node, other: fx.Node) -> None:
        """`node` is another name of the tensor `other`, as an in-place operation returns its own input."""
        self.values[node] = self.values[other]

    def key(self, node: fx.Node) -> str:
        """The key of the node's present value; a view of a tensor that has changed since is taken anew."""
        return self._fresh(self.values[node])

    def overwrite(self, node: fx.Node, key: str) -> None:
        """The tensor now holds the value at `key`, and so does the memory that it is a view of."""
        written = self.values[node]
        chain = [written]
        while chain[-1].base is not None:
            chain.append(chain[-1].base)
        root, views = chain[-1], chain[-2::-1]
        if views:
            self._scatter(root, views, key)
        for value in self.values.values():
            if value is not root and _root(value) is root:
                value.stale = True
        written.key, written.stale = key, False

    def _scatter(self, root: _Value, views: list[_Value], key: str) -> None:
        others: list[str] = []
        inputs: list[list[int]] = []
        for view in views:
            indices = []
            for node in view.reads:
                if self.values[node] is view.base:
                    indices.append(-1)
                else:
                    indices.append(len(others))
                    others.append(self.key(node))
            inputs.append(indices)
        base = self._fresh(root)
        layers = [copy.copy(view.layer) for view in views if view.layer is not None]
        root.key = self._numbered(f"{key}.scatter")
        self.append(Step(root.key, Scatter(layers, inputs), (base, key, *others)))

    def _fresh(self, value: _Value) -> str:
        if value.stale and value.base is not None and value.layer is not None:
            reads = tuple(self._fresh(self.values[node]) for node in value.reads)
            value.key = self._numbered(f"{value.key}.again")
            self.append(Step(value.key, copy.copy(value.layer), reads))
        value.stale = False
        return value.key

    def _numbered(self, stem: str) -> str:
        self.made[stem] = self.made.get(stem, 0) + 1
        return stem if self.made[stem] == 1 else f"{stem}_{self.made[stem] - 1}"


def _root(value: _Value) -> _Value:
    while value.base is not None:
        value = value.base
    return value
