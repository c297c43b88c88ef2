"""Fingerprints: one text for everything that a result depends on, the same in each process and on each day."""

from __future__ import annotations

import enum
import hashlib
import types
from collections.abc import Mapping, Set
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError

_OTHERS = (
    "abc",
    "builtins",
    "collections",
    "dataclasses",
    "functools",
    "netlens",
    "numpy",
    "pathlib",
    "PIL",
    "torch",
    "torchvision",
)
"""Libraries whose code stands for its version, which belongs to a fingerprint once."""

_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)
_CODE = (types.FunctionType, type)


def fingerprint(value: Any) -> str:
    """A hash of a value, whatever it is made of: numbers, texts, tensors, modules, functions, objects of any class.

    Equal values have the same fingerprint. Of functions and classes, the code counts, and that of the functions and
    classes of the same file that they call by name. Other code that they call does not count, and neither does that of
    libraries such as torch: its version stands in the settings.

    Raises:
        NetLensError: Some part of the value has no content that can be read, such as an open file.

    Example:
        >>> fingerprint({"a": [1, 2]}) == fingerprint({"a": [1, 2]}), fingerprint(1) == fingerprint(1.0)
        (True, False)
    """
    return _Reader().of(value).hex()


class _Reader:
    """Reads a value from the outside in. What occurs twice is read once."""

    def __init__(self) -> None:
        self.digests: dict[int, bytes] = {}
        self.path: list[int] = []
        self.alive: list[Any] = []  # what has an entry, because another object may get the id of one that is gone

    def of(self, value: Any) -> bytes:
        if type(value) in _PLAIN:
            return _hash(type(value).__name__, value if isinstance(value, bytes) else repr(value).encode())
        if id(value) in self.digests:
            return self.digests[id(value)]
        if id(value) in self.path:
            return _hash("circle", str(len(self.path) - self.path.index(id(value))).encode())
        self.path.append(id(value))
        self.alive.append(value)
        digest = self.digests[id(value)] = self._of(value)
        self.path.pop()
        return digest

    def _of(self, value: Any) -> bytes:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, Mapping) and type(value).__module__ in ("builtins", "collections"):
            entries = [self.of(key) + self.of(entry) for key, entry in value.items()]
            return _hash("mapping", *entries)
        if type(value) in (list, tuple):
            return _hash(type(value).__name__, *map(self.of, value))
        if isinstance(value, Set) and type(value).__module__ == "builtins":
            return _hash("set", *sorted(map(self.of, value)))
        if isinstance(value, enum.Enum):
            return _hash("enum", _name(type(value)), value.name.encode())
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.CodeType):
            return _hash("code", value.co_code, self.of(_names_in(value)), *map(self.of, value.co_consts))
        if isinstance(value, types.ModuleType):
            return _hash("module", value.__name__.encode())
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.MethodType):
            return _hash("method", self.of(value.__func__), self.of(value.__self__))
        if isinstance(value, partial):
            return _hash("partial", self.of(value.func), self.of(value.args), self.of(value.keywords))
        return self._object(value)

    def _object(self, value: Any) -> bytes:
        """An object, by what pickle would store of it."""
        try:
            parts = value.__reduce_ex__(4)
        except Exception as error:  # objects that hold a file, a lock or a thread raise errors of any kind
            raise NetLensError(
                f"a {type(value).__qualname__} cannot be told from another one ({_line(error)}), so stored parts could "
                "be taken for those of something else; leave it out of the network, the data and all options."
            ) from error
        if isinstance(parts, str):
            return _hash("global", str(getattr(value, "__module__", "")).encode(), parts.encode())
        state, items, pairs = (*parts[2:5], None, None, None)[:3]
        lists = [None if part is None else list(part) for part in (items, pairs)]
        return _hash("object", self.of(type(value)), *map(self.of, (parts[0], parts[1], state, *lists)))

    def _tensor(self, value: Tensor) -> bytes:
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        if plain.layout != torch.strided or plain.is_quantized:
            raise NetLensError(f"the content of a tensor of {value.layout} cannot be compared; make it dense.")
        octets = plain.view(-1).view(torch.uint8) if plain.numel() else plain.new_empty(0, dtype=torch.uint8)
        digest = hashlib.sha256(octets.numpy())  # type: ignore[arg-type]  # an array is a buffer
        layout = f"{value.dtype} {tuple(value.shape)} {value.stride()}"  # the last digits of a result depend on strides
        return _hash("tensor", layout.encode(), digest.digest())

    def _function(self, value: types.FunctionType) -> bytes:
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
        if _is_known(value.__module__):
            return _hash("function", _name(value), *map(self.of, (value.__defaults__, value.__kwdefaults__, cells)))
        parts = (value.__code__, value.__defaults__, value.__kwdefaults__, cells, self._read_by(value))
        return _hash("function", _name(value), *map(self.of, parts))

    def _read_by(self, value: types.FunctionType) -> dict[str, Any]:
        """The functions, classes and numbers of its file that a function reads by their names."""
        names = sorted({*_names_in(value.__code__)} & value.__globals__.keys())
        values = {name: value.__globals__[name] for name in names}
        return {
            name: part
            for name, part in values.items()
            # what the file imports is left out: one name of a large library would lead to all of it
            if type(part) in _PLAIN or (isinstance(part, _CODE) and part.__module__ == value.__module__)
        }

    def _class(self, value: type) -> bytes:
        attributes = {} if _is_known(value.__module__) else vars(value)
        parts = {name: _behind(part) for name, part in attributes.items()}
        read = [
            self.of((name, part))
            for name, part in parts.items()
            if isinstance(part, types.FunctionType) or (type(part) in _PLAIN and not name.startswith("__"))
        ]
        bases = [self.of(base) for base in value.__bases__ if base is not object]
        return _hash("class", _name(value), *sorted(read), *bases)


def _behind(part: Any) -> Any:
    """The function behind a property or a method of a class."""
    return part.fget if isinstance(part, property) else getattr(part, "__func__", part)


def _names_in(code: types.CodeType) -> list[str]:
    inner = [name for part in code.co_consts if isinstance(part, types.CodeType) for name in _names_in(part)]
    return [*code.co_names, *inner]


def _is_known(module: str | None) -> bool:
    return (module or "").split(".")[0] in _OTHERS


def _name(value: Any) -> bytes:
    return f"{value.__module__}.{value.__qualname__}".encode()


def _hash(kind: str, *parts: bytes) -> bytes:
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]
