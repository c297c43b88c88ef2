"""The network behind a flat model. If its fingerprint shows a change, the network is unrolled again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from operator import is_, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.tracing._paths import modules_of
from netlens.flat.tracing._state import OF_EVERY_MODULE
from netlens.flat.tracing._unroll import Unrolling

_MOST = 8  # the largest number of stored unrollings, each for inputs of other shapes
_NUMBERS = (int, float, str, bytes, torch.dtype, torch.device)


_UNCHANGED: ContextVar[bool] = ContextVar("netlens_unchanged", default=False)


@contextmanager
def unchanged() -> Iterator[None]:
    """Within the block, this thread compares no fingerprints. The caller has compared them before the block."""
    token = _UNCHANGED.set(True)
    try:
        yield
    finally:
        _UNCHANGED.reset(token)


class Source:
    """A network and its unrolling. `refresh` unrolls the network again when it has changed.

    These changes count: a new value of an attribute (`norm.eps = 0.1`), another parameter, another submodule, and
    weights that have moved in memory (`network.half()`). A change of weights in place (an optimizer step,
    `load_state_dict`) does not count, because the program shares the weights.

    Args:
        network: The network to follow.
        unroll: A function that unrolls the network in its current state, along an example if it gets one.
        example: The inputs of an example by name; None to unroll without one.
    """

    def __init__(
        self,
        network: nn.Module,
        unroll: Callable[[Mapping[str, Any] | None], Unrolling],
        example: Mapping[str, Any] | None,
    ) -> None:
        self.network, self.unroll, self.example = network, unroll, example
        self._others: OrderedDict[Any, Source] = OrderedDict()
        self.unrolling = unroll(example)
        self.fingerprint = Fingerprint(network, self.unrolling.written)

    def refresh(self) -> Unrolling:
        """The unrolling of the network as it is now."""
        if not _UNCHANGED.get() and self.fingerprint.changed():
            self._others.clear()
            self.unrolling = self.unroll(self.example)
            self.fingerprint = Fingerprint(self.network, self.unrolling.written)
        return self.unrolling

    def along(self, inputs: Sequence[Any]) -> Source:
        """The same network, unrolled along other inputs, whose shapes or types have other answers. The last few stay.

        Raises:
            TraceError: The network does not take inputs of these shapes, or was unrolled without an example.
        """
        kind = kind_of(inputs)
        if kind not in self._others:
            names = self.example if self.example is not None else ()
            self._others[kind] = Source(self.network, self.unroll, dict(zip(names, inputs, strict=True)))
            while len(self._others) > _MOST:
                self._others.popitem(last=False)
        self._others.move_to_end(kind)
        return self._others[kind]


def kind_of(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """What the answers about shapes and types follow from: those of all tensors in the inputs, and all other values."""
    leaves, structure = pytree.tree_flatten(list(inputs))
    return str(structure), *(
        (leaf.shape, leaf.dtype, leaf.device, leaf.layout) if isinstance(leaf, Tensor) else repr(leaf)
        for leaf in leaves
    )


class Fingerprint:
    """The identity of each module, tensor and setting in a tree of modules. It reads no weights.

    Args:
        root: The network.
        written: Attributes to ignore, each as (path of the module, name), because a forward sets them.
    """

    def __init__(self, root: nn.Module, written: Collection[tuple[str, str]] = ()) -> None:
        self.tables: list[_Table] = []
        for module_path, module in modules_of(root, "").items():
            if not isinstance(module, torch.jit.ScriptModule):  # a ScriptModule makes new tensors at each access
                # flags and hooks do not change what a module computes in eval mode, and tables are compared by entries
                ignored = OF_EVERY_MODULE | {name for path, name in written if path == module_path}
                self._add_module(module, ignored)
        self.values = self._values()
        self.tensors = [value for value in self.values if isinstance(value, Tensor)]
        self.addresses = list(map(_address, self.tensors))

    def changed(self) -> bool:
        """Whether a module, tensor or setting differs from the one in the fingerprint."""
        if any(table.size is not None and len(table.container) != table.size for table in self.tables):
            return True
        try:
            values = self._values()
        except LookupError:  # an attribute is gone
            return True
        if not all(map(is_, values, self.values)) and not all(map(_equal, values, self.values)):
            return True
        return list(map(_address, self.tensors)) != self.addresses

    def _values(self) -> list[Any]:
        return list(chain.from_iterable(table.values(table.container) for table in self.tables))

    def _add_module(self, module: nn.Module, ignored: frozenset[str]) -> None:
        attributes = module.__dict__
        # ignored: weights that torch's own hooks compute again in each run (`weight_norm`, pruning)
        hooks = module._forward_pre_hooks.values()
        ignored |= {str(getattr(hook, "name", getattr(hook, "_tensor_name", ""))) for hook in hooks}
        # a new attribute is no change: no unrolled layer reads it (for example, an activation that a hook stores)
        self._add_table(attributes, [name for name in attributes if name not in ignored], may_grow=True)
        for table in (module._parameters, module._buffers, module._modules):
            self._add_table(table, [name for name in table if name not in ignored])
        for name, value in attributes.items():
            if name not in ignored and type(value) in (list, dict):
                self._add_table(value, list(value) if isinstance(value, dict) else range(len(value)))

    def _add_table(self, container: Any, names: Sequence[Any], may_grow: bool = False) -> None:
        if names:
            # the first name is there twice, because an itemgetter with one name does not return a tuple
            getter = itemgetter(*names, names[0])
            self.tables.append(_Table(container, None if may_grow else len(container), getter))


class _Table(NamedTuple):
    """A dict or list of a module, its size (None if it may grow), and a getter of the values to compare."""

    container: Any
    size: int | None
    values: Callable[[Any], tuple[Any, ...]]


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return isinstance(a, _NUMBERS) and a == b


def _address(tensor: Tensor) -> tuple[int, torch.dtype]:
    """The address and type of the values of a tensor. Both may change by `tensor.data = other`."""
    # a sparse tensor has several addresses
    return (tensor.data_ptr() if tensor.layout is torch.strided else 0), tensor.dtype
