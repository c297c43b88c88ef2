"""Studio: the network, the pictures and the results of a playground."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from netlens import images
from netlens.classes import ClassNames
from netlens.errors import ImageError, NetLensWarning
from netlens.flat import FlatModel
from netlens.lens import NetLens
from netlens.playground._drawing import Drawing
from netlens.playground._patterns import PATTERNS, pattern
from netlens.playground._store import Store, digest
from netlens.results import Attribution
from netlens.silence import silenced
from netlens.zoo import PRETRAINED

MOST_PIXELS = 40_000_000
"""The most pixels of a picture that the page takes. They are counted before the picture is decoded."""
MOST_BYTES = 32 * 2**20
"""The largest file that the page takes."""
_SCENES = 12
_SEARCHED = 60  # scenes among which those that excite a channel are found
_LISTED = 1000  # pictures of a folder; also drawings that links find, and pages whose runs are listed
_MEMORY = 256 * 2**20  # bytes of pictures of the users; also of results


def _bytes_of_picture(picture: Image.Image) -> int:
    return 3 * picture.width * picture.height


def _bytes_of_result(result: Attribution) -> int:
    tensors = (result.values, result.image, result.maps)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


class Product(Protocol):
    """A result of a tab, which a store keeps."""

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""


class Painted(Product, Protocol):
    """A result of the tab Style, which a store keeps."""

    def file(self, kind: str) -> bytes | None:
        """The file with this suffix, made now; None if it has none."""


def _bytes_of(product: Product) -> int:
    return product.nbytes


@dataclass(frozen=True, eq=False)
class Studio:
    """The network, the pictures and the results of a playground.

    Args:
        flat: The network.
        model: The name by which `open_network` opened it.
        weights: The weights that it got, for the code that the page shows.
        classes: The names of its classes as `open_network` got them, for the same code.
        folder: A folder of pictures; None for scenes of the bundled world.
    """

    flat: FlatModel
    model: str = "shapes"
    weights: str = PRETRAINED
    classes: str | None = None
    folder: Path | None = None
    painted: Store[Painted] = field(default_factory=lambda: Store(_MEMORY, _bytes_of))
    listed: Store[tuple[str, ...]] = field(default_factory=lambda: Store(_LISTED))  # keys in `painted`, by page
    uploads: Store[Image.Image] = field(default_factory=lambda: Store(_MEMORY, _bytes_of_picture))
    results: Store[Attribution] = field(default_factory=lambda: Store(_MEMORY, _bytes_of_result))
    lenses: Store[NetLens] = field(default_factory=lambda: Store(4))
    drawings: Store[Drawing] = field(default_factory=lambda: Store(_MEMORY, _bytes_of))
    newest: Store[str] = field(default_factory=lambda: Store(_LISTED))  # keys of drawings, by what was wished
    drawn: Store[Any] = field(default_factory=lambda: Store(64))

    @cached_property
    def pictures(self) -> dict[str, Path | int]:
        """The pictures to choose from, by name: files of the folder, or seeds of scenes.

        Raises:
            ImageError: The folder is none, or holds no picture.
        """
        if self.folder is None:
            return {f"scene {seed}": seed for seed in range(_SCENES)}
        if not self.folder.is_dir():
            raise ImageError(f"{self.folder} is no folder; give --images a folder of pictures.")
        files = images.in_folder(self.folder)
        return {path.relative_to(self.folder).as_posix(): path for path in files[:_LISTED]}

    @cached_property
    def files(self) -> list[Path]:
        """The pictures as files. Scenes are written into a folder of their own, which goes when the program ends."""
        if self.folder is not None:
            return [source for source in self.pictures.values() if isinstance(source, Path)]
        folder = Path(self._scenes.name)
        return [images.save(_scene(seed), folder / f"scene {seed}.png") for seed in range(_SEARCHED)]

    @cached_property
    def _scenes(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="netlens-scenes-")

    def picture(self, name: str | None) -> Image.Image:
        """A picture by its name: one of `pictures`, one that `keep` has kept, or a pattern that looks painted.

        Raises:
            ImageError: There is no such picture, or no longer; or it cannot be read.
        """
        if not name:
            raise ImageError("there is no picture yet; choose one, or drop one of yours.")
        upload = self.uploads.get(name)
        if upload is not None:
            return upload
        if name in PATTERNS:
            return pattern(name)
        if name not in self.pictures:
            raise ImageError(f"{name} is not here, or no longer; drop it again, or choose another picture.")
        source = self.pictures[name]
        return read_capped(source) if isinstance(source, Path) else _scene(source)

    def has(self, name: str | None) -> bool:
        """Whether there is a picture with this name, which may be one that cannot be read."""
        return bool(name) and (self.uploads.get(name) is not None or name in PATTERNS or name in self.pictures)

    def thumbnail(self, name: str | None, side: int = 320) -> Image.Image:
        """A picture, made small enough for the page."""
        picture = self.picture(name).copy()
        picture.thumbnail((side, side))
        return picture

    def keep(self, path: str | os.PathLike[str]) -> str:
        """Keep a picture of a user in memory, and return the name by which `picture` gives it.

        Raises:
            ImageError: It is too large, or cannot be read.
        """
        return self.keep_picture(read_capped(Path(path)), Path(path).stem)

    def keep_picture(self, picture: Image.Image, title: str) -> str:
        """Keep a picture in memory, and return the name by which `picture` gives it."""
        # a name that files and lists in an address can have
        safe = "".join(letter if letter.isprintable() and letter not in '/\\:*?"<>|~' else "-" for letter in title[:40])
        name = f"{safe} · {digest(picture.size, picture.tobytes())[:8]}"
        self.uploads.put(name, picture)
        return name

    def lens(self, name: str | None, target: Any = None) -> NetLens:
        """The lens of a picture and a class; None for the class that the network predicts."""

        def new_lens() -> NetLens:
            with silenced(NetLensWarning):  # the page shows what is predicted, and which class is explained
                return NetLens(self.flat, self.picture(name), target)

        return self.lenses.get_or_make((name, target), new_lens)

    @cached_property
    def class_choices(self) -> list[str]:
        """The classes as a list to choose from, such as "88: macaw"; empty if they have no names."""
        names = self.flat.classes
        return [] if names is None else [class_choice(names, index) for index in range(len(names))]


def class_choice(names: ClassNames | None, index: int) -> str:
    """A class in the list of classes."""
    return str(index) if names is None or index >= len(names) else f"{index}: {names[index]}"


def class_of(choice: str | None) -> Any:
    """The index or name of a class that was chosen, or typed by hand; None for none.

    >>> class_of("88: macaw"), class_of("88"), class_of("macaw"), class_of("")
    (88, 88, 'macaw', None)
    """
    text = (choice or "").strip()
    number = text.partition(":")[0]
    if number.isdecimal() and number.isascii():
        return int(number[:9])
    return text or None


def read_capped(path: Path) -> Image.Image:
    """A picture of a file that has at most `MOST_BYTES` and `MOST_PIXELS`; both are checked before it is decoded."""
    pixels_of(path)
    try:
        return images.load(path)
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), path.name)) from error  # users must not see its folder


def pixels_of(path: Path) -> int:
    """The number of pixels of a picture, which is not decoded; 0 if the file is none.

    Raises:
        ImageError: It has more than `MOST_BYTES` or `MOST_PIXELS`.
    """
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise ImageError(f"{path.name} has over {MOST_BYTES // 2**20} MB; export it smaller.")
    try:
        with Image.open(path) as header:  # reads the size alone
            width, height = header.size
    except Exception:  # `images.load` says what is wrong with the file
        width = height = 0
    if width * height > MOST_PIXELS:
        raise ImageError(f"{path.name} is {width} × {height}, over {MOST_PIXELS:,} pixels; shrink it first.")
    return width * height


def _scene(seed: int) -> Image.Image:
    from netlens.world.scene import scene

    return images.load(scene(seed).image)
