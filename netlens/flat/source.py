"""The network that a flat model was made from: whether it is still the same, and unrolled again where it is not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from operator import is_, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from netlens.flat.paths import modules_of
from netlens.flat.program import Program

# flags and hooks, which every module has, say nothing of what it computes in eval mode; its tables are looked into
_IGNORED = frozenset(vars(nn.Module()))
_NUMBERS = (int, float, str, bytes, torch.dtype, torch.device)


_UNCHANGED: ContextVar[bool] = ContextVar("netlens_unchanged", default=False)


@contextmanager
def unchanged() -> Iterator[None]:
    """Within the block, networks are taken to stay as they are in this thread: they were compared before it."""
    token = _UNCHANGED.set(True)
    try:
        yield
    finally:
        _UNCHANGED.reset(token)


class Made(NamedTuple):
    """What a network was unrolled to; `written` are the attributes that its own forward sets: (path, name)."""

    program: Program
    opaque: dict[str, str]
    written: frozenset[tuple[str, str]]


class Source:
    """A network and what it was unrolled to, which is done again when the network has changed.

    Changes in place (an optimizer step, `load_state_dict`) need nothing, because the program shares the weights. A new
    value of an attribute (`norm.eps = 0.1`), another parameter, weights that moved (`network.half()`) and an exchanged
    submodule need it.
    """

    def __init__(self, network: nn.Module, make: Callable[[], Made]) -> None:
        self.network, self.make = network, make
        self.made = make()
        self.fingerprint = Fingerprint(network, self.made.written)

    def refresh(self) -> Made:
        """What the network is unrolled to as it is now."""
        if not _UNCHANGED.get() and self.fingerprint.changed():
            self.made = self.make()
            self.fingerprint = Fingerprint(self.network, self.made.written)
        return self.made


class Fingerprint:
    """What a tree of modules is made of, by identity: its modules, tensors and settings. Nothing is computed."""

    def __init__(self, root: nn.Module, written: Collection[tuple[str, str]] = ()) -> None:
        self.tables: list[_Table] = []
        for path, module in modules_of(root, "").items():
            if not isinstance(module, torch.jit.ScriptModule):  # which makes new tensors each time it is asked
                self._look_at(module, _IGNORED | {name for place, name in written if place == path})
        self.values = self._values()
        self.tensors = [value for value in self.values if isinstance(value, Tensor)]
        self.places = list(map(_place, self.tensors))

    def changed(self) -> bool:
        """Whether a module, tensor or setting is another than it was."""
        if any(table.size is not None and len(table.held) != table.size for table in self.tables):
            return True
        try:
            now = self._values()
        except LookupError:  # an attribute is gone
            return True
        if not all(map(is_, now, self.values)) and not all(map(_same, now, self.values)):
            return True
        return list(map(_place, self.tensors)) != self.places

    def _values(self) -> list[Any]:
        return list(chain.from_iterable(table.values(table.held) for table in self.tables))

    def _look_at(self, module: nn.Module, ignored: frozenset[str]) -> None:
        own = module.__dict__
        # torch's own hooks compute a weight anew in each run (`weight_norm`, pruning)
        hooks = module._forward_pre_hooks.values()
        ignored |= {str(getattr(hook, "name", getattr(hook, "_tensor_name", ""))) for hook in hooks}
        # a new attribute, such as one in which a hook keeps an activation, is read by nothing that was unrolled
        self._add(own, [name for name in own if name not in ignored], grows=True)
        for table in (module._parameters, module._buffers, module._modules):
            self._add(table, [name for name in table if name not in ignored])
        for name, value in own.items():
            if name not in ignored and type(value) in (list, dict):
                self._add(value, list(value) if isinstance(value, dict) else range(len(value)))

    def _add(self, held: Any, names: Sequence[Any], grows: bool = False) -> None:
        if names:  # a getter of one name gives no tuple
            self.tables.append(_Table(held, None if grows else len(held), itemgetter(*names, names[0])))


class _Table(NamedTuple):
    """A dict or list of a module: itself, its size if that counts, and what takes the values that are looked at."""

    held: Any
    size: int | None
    values: Callable[[Any], tuple[Any, ...]]


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, _NUMBERS) and one == other


def _place(tensor: Tensor) -> tuple[int, torch.dtype]:
    """Where the values of a tensor lie, which `tensor.data = other` changes."""
    # sparse tensors lie in several places
    return (tensor.data_ptr() if tensor.layout is torch.strided else 0), tensor.dtype
