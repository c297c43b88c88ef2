"""Objects that draw themselves, in a notebook and into a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from netlens.errors import ImageError
from netlens.results import storage

if TYPE_CHECKING:
    from netlens.show import Picture


class Drawn(ABC):
    """Abstract: an object with one drawing."""

    @abstractmethod
    def show(self) -> Picture:
        """Draw the object."""

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the drawing of `show` to a .png file. If this fails, an earlier file stays unchanged."""
        if Path(path).suffix.lower() != ".png":
            raise ImageError(f"{path} must end in .png.")
        return storage.write(Path(path), self.show().png())

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]]:
        return self.show()._repr_jpeg_()
