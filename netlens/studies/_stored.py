"""Stored: results that draw themselves, and files of them without pickle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sized
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from torch import Tensor

from netlens.heatmaps import ResultError
from netlens.results import storage

if TYPE_CHECKING:
    from netlens.show import Picture

S = TypeVar("S", bound="Stored")


class Stored(ABC):
    """Abstract: a frozen dataclass of tensors, numbers, texts and other dataclasses, with a drawing and a file."""

    parts: ClassVar[tuple[type, ...]] = ()
    """The dataclasses of which it consists. A file names no other classes."""

    @abstractmethod
    def show(self) -> Picture:
        """Draw the result."""

    def save(self, path: str | Path) -> Path:
        """Write the drawing (.png), or everything (.safetensors), which `load` reads.

        Raises:
            ResultError: The path has another suffix, or the file cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".png":
            return storage.write(path, self.show().png())
        if suffix != ".safetensors":
            raise ResultError(f"{path} must end in .png (a drawing) or .safetensors (everything).")
        tensors: dict[str, Tensor] = {}
        header = {"study": type(self).__name__, "content": _encoded(self, tensors)}
        return storage.write(path, storage.pack(".safetensors", tensors, header))

    @classmethod
    def load(cls: type[S], path: str | Path) -> S:
        """Read a file that `save` wrote.

        Raises:
            ResultError: The file does not exist, is damaged, or holds something else.
        """
        tensors, header = storage.unpack(path)
        with storage.readable(path):
            if header["study"] != cls.__name__:
                raise ResultError(f"{path} holds a {header['study']}, and no {cls.__name__}.")
            study = _decoded(header["content"], tensors, {kind.__name__: kind for kind in (cls, *cls.parts)})
            if not isinstance(study, cls):
                raise ResultError(f"{path} is damaged.")
            return study

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]]:
        return self.show()._repr_jpeg_()

    def __repr__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{name}={_short(value)}' for name, value in values)})"


def _short(value: Any) -> str:
    """Numbers and short texts as they are; of all else, how much there is."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    return f"<{len(value)}>" if isinstance(value, Sized) else f"<{type(value).__name__}>"


def _encoded(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON. Its tensors are put into `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, list | tuple):
        return {"items": [_encoded(item, tensors) for item in value]}
    if isinstance(value, Mapping):
        return {"entries": [[key, _encoded(item, tensors)] for key, item in value.items()]}
    if is_dataclass(value):
        content = {field.name: _encoded(getattr(value, field.name), tensors) for field in fields(value)}
        return {"kind": type(value).__name__, "fields": content}
    return value


def _decoded(value: Any, tensors: Mapping[str, Tensor], kinds: Mapping[str, type]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "items" in value:
        return tuple(_decoded(item, tensors, kinds) for item in value["items"])
    if "entries" in value:
        return {key: _decoded(item, tensors, kinds) for key, item in value["entries"]}
    return kinds[value["kind"]](
        **{name: _decoded(item, tensors, kinds) for name, item in value["fields"].items()},
    )
