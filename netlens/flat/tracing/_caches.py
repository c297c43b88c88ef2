"""Caches of a network's own library: a trace neither reads them nor leaves traced values in them."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

_CACHED = functools._lru_cache_wrapper
# their functions get no traced values, or record them themselves
_SKIPPED = ("torch", "torchvision", "netlens", "builtins", "collections", "abc", "typing")


@contextmanager
def uncached(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within the block, functions under `functools.lru_cache` in the code of a network run anew in each call.

    A cache in a dict or list of a Python module holds afterwards what it held before.
    """
    with ExitStack() as stack:
        for namespace in _namespaces(modules):
            for name, value in list(vars(namespace).items()):
                if isinstance(_function(value), _CACHED):
                    plain = _function(value).__wrapped__
                    setattr(namespace, name, plain if value is _function(value) else type(value)(plain))
                    stack.callback(setattr, namespace, name, value)
                elif type(value) in (dict, list, set) and not name.startswith("__"):
                    stack.callback(_restored, value, value.copy())
                for cell in _cells(_function(value)):
                    cached = _content(cell)
                    if isinstance(cached, _CACHED):
                        cell.cell_contents = cached.__wrapped__
                        stack.callback(setattr, cell, "cell_contents", cached)
        yield


def _namespaces(modules: Iterable[nn.Module]) -> list[Any]:
    """The classes of a network, and the Python modules that define them."""
    kinds = {kind for cls in {type(module) for module in modules} for kind in cls.__mro__}
    classes = [kind for kind in kinds if kind.__module__.split(".")[0] not in _SKIPPED]
    files = {sys.modules[kind.__module__] for kind in classes if kind.__module__ in sys.modules}
    return [*classes, *files]


def _function(value: Any) -> Any:
    return value.__func__ if isinstance(value, (staticmethod, classmethod)) else value


def _cells(value: Any) -> tuple[types.CellType, ...]:
    # another object may answer any attribute with an error, such as a library that is missing
    return value.__closure__ or () if isinstance(value, types.FunctionType) else ()


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is empty
        return None


def _restored(container: Any, content: Any) -> None:
    if container != content or len(container) != len(content):
        container.clear()
        container.extend(content) if isinstance(container, list) else container.update(content)


def looks_up(frame: types.FrameType) -> bool:
    """Whether a frame looks a key up in a dict, and does not hand it to a function, whose cache would keep it."""
    code = frame.f_code.co_code
    return not dis.opname[code[frame.f_lasti]].startswith("CALL")
