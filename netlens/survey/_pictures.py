"""Pictures: the samples of a survey, to be looked at, and results that draw them."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from netlens import heatmaps
from netlens.errors import ImageError, NetLensError, NonFiniteError
from netlens.preprocessing import Preprocessing, as_batch
from netlens.results.drawn import Drawn
from netlens.survey._data import data_from
from netlens.survey._files import Files
from netlens.survey._samples import NO_LABEL, Data

if TYPE_CHECKING:
    from netlens.show import Picture

T = TypeVar("T")
_SHOWN = 24  # a drawing shows so many pictures at most


@dataclass(frozen=True)
class Pictures:
    """The pictures of a survey, as the network takes them.

    Args:
        data: The samples.
        preprocessing: How a picture becomes an input.
    """

    data: Data
    preprocessing: Preprocessing

    def input(self, sample: int) -> Tensor:
        """(1, C, H, W): what the network gets.

        Raises:
            ImageError: The picture cannot be read.
        """
        image = self.data.load(sample).image
        is_input = isinstance(image, Tensor) and image.is_floating_point() and image.ndim > 2
        return as_batch(image, self.preprocessing, image.shape[-3] if is_input else None)

    def image(self, sample: int) -> Tensor:
        """(C, H, W) in [0, 1]: the preprocessed picture, as people see it.

        Raises:
            ImageError: The picture cannot be read.
        """
        x = self.input(sample)[0].float()
        if len(x) != len(self.preprocessing.mean):  # bands, whose colors nobody knows
            low, high = x.min(), x.max()
            return (x - low) / (high - low).clamp(min=1e-12)
        return self.preprocessing.denormalize(x)


def pictures_from(data: Any, names: Sequence[str], preprocessing: Preprocessing | None) -> Pictures:
    """The pictures of a survey that was loaded from a file.

    Args:
        data: The folder, the CSV file, the list of files or the data set that the survey was about, wherever it is now.
        names: The names of the samples.
        preprocessing: How they were preprocessed.

    Raises:
        NetLensError: The data has other samples, or the preprocessing is not known.
    """
    if preprocessing is None:
        raise NetLensError("this survey does not say how its pictures were preprocessed; run it again.")
    if isinstance(data, str | os.PathLike):
        root = Path(data) if Path(data).is_dir() else Path(data).parent  # of a CSV file
        if any((root / name).is_file() for name in names):  # some may be gone, and others may be new
            return Pictures(Files(root, tuple(names), (NO_LABEL,) * len(names)), preprocessing)
    try:
        samples = data_from(data, None)
    except NetLensError as error:
        first = f", such as {names[0]!r:.80}" if names else ""
        raise ImageError(f"{data} holds none of the {len(names)} pictures of the survey{first} ({error})") from error
    if list(map(samples.name, range(len(samples)))) != list(names):
        raise NetLensError(f"this data has {len(samples)} samples, not the {len(names)} of the survey; give the same.")
    return Pictures(samples, preprocessing)


@dataclass(frozen=True, eq=False)
class Pictured(Drawn, Sequence[T]):
    """Abstract: samples in an order, which draw themselves.

    Args:
        items: What is known of each of them.
        pictures: Their pictures; None if they are not known.
    """

    items: tuple[T, ...]
    pictures: Pictures | None = field(default=None, repr=False)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.items == other.items

    def __hash__(self) -> int:
        return hash(self.items)

    def __repr__(self) -> str:
        return "\n".join(map(self._line, self.items)) if self.items else f"{type(self).__name__}()"

    @abstractmethod
    def _line(self, item: T) -> str:
        """One sample as a line of text."""

    @abstractmethod
    def _drawing(self, item: T, pictures: Pictures) -> tuple[Tensor, str, str]:
        """The picture (C, h, w) of one sample, and the two lines above it."""

    def show(self, columns: int | None = None) -> Picture:
        """Draw the pictures, up to 24. A picture that cannot be read any more is left out.

        Args:
            columns: The number of pictures in a row; None for rows of equal length.

        Raises:
            NetLensError: The pictures are not known, or none can be read.
        """
        from netlens.show import sheet  # matplotlib loads only when something is drawn

        if self.pictures is None:
            raise NetLensError("a survey that was loaded has no pictures; write survey.with_pictures(folder) first.")
        drawings = []
        for item in self.items[:_SHOWN]:
            try:
                drawings.append(self._drawing(item, self.pictures))
            except (ImageError, NonFiniteError):
                continue
        if not drawings:
            raise NetLensError("there is no picture to draw: no sample, or none that can be read.")
        side = max(max(image.shape[1:]) for image, _, _ in drawings)
        channels = max(len(image) for image, _, _ in drawings)
        batch = torch.stack([_square(image.expand(channels, -1, -1), side) for image, _, _ in drawings])
        return sheet(batch, [title for _, title, _ in drawings], [line for _, _, line in drawings], columns)

    def _repr_jpeg_(self) -> Any:
        try:
            return super()._repr_jpeg_()
        except NetLensError:  # a notebook then shows the text
            return None


def _square(image: Tensor, side: int) -> Tensor:
    """(C, side, side): a picture (C, h, w) with its proportions, in the middle of a white square."""
    height, width = (max(1, round(length * side / max(image.shape[1:]))) for length in image.shape[1:])
    square = torch.ones(len(image), side, side)
    top, left = (side - height) // 2, (side - width) // 2
    scaled = heatmaps.resize(image[None], (height, width))[0].clamp(0, 1)
    square[:, top : top + height, left : left + width] = scaled
    return square


def stem(name: str) -> str:
    """The last part of the name of a sample, without its suffix.

    Example:
        >>> stem("cats/tabby.1.jpg"), stem("#7")
        ('tabby.1', '#7')
    """
    return Path(name).stem
