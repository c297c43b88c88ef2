"""The images of a folder, or crops of them, for which an objective is highest."""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netlens import heatmaps
from netlens.errors import ImageError, NetLensError, NetLensWarning, NonFiniteError, NotApplicable
from netlens.fast.chunks import Chunks, out_of_memory
from netlens.flat import FlatModel
from netlens.flat.intake import weight_of
from netlens.flat.receptive import crop_of, receptive_fields
from netlens.images import in_folder
from netlens.objectives import Objective, Record
from netlens.objectives.layers import Channel, channel_maps
from netlens.options import checked
from netlens.results import Render
from netlens.results.drawn import Drawn
from netlens.visualization._judge import preprocessing_of

if TYPE_CHECKING:
    from netlens.show import Picture

Cell = tuple[int, int, int, int]
Folder = str | PathLike[str] | Sequence[str | PathLike[str]]
_NAMED = 3  # the number of files that a warning names


@dataclass(frozen=True)
class Example:
    """An image with a high objective.

    Attributes:
        path: The file.
        value: The objective.
        image: The image, or the crop of it, (C, h, w) in [0, 1].
        box: The edges of the crop in the input of the network, in pixels: (top, bottom, left, right).
    """

    path: Path
    value: float
    image: Tensor = field(repr=False)
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Examples(Drawn, Sequence[Example]):
    """The images with the highest objective, in descending order.

    Attributes:
        best: The images.
        skipped: The files that could not be read, each with the reason.
        n_read: The number of files that were read.
        picture: A picture that was optimized for the same objective; `show` draws it first. None if there is none.
    """

    best: tuple[Example, ...]
    skipped: tuple[tuple[Path, str], ...]
    n_read: int
    picture: Render | None = None

    def __repr__(self) -> str:
        return f"Examples({len(self.best)} best of {self.n_read} images, {len(self.skipped)} files skipped)"

    def __getitem__(self, index: Any) -> Any:
        return self.best[index]

    def __len__(self) -> int:
        return len(self.best)

    def show(self) -> Picture:
        """Draw the optimized picture, if there is one, and then all images, in the size of the first image."""
        from netlens.show import sheet

        shown = [] if self.picture is None else [self.picture.images[:1]]
        size = self.best[0].image.shape[1:] if self.picture is None else shown[0].shape[2:]
        images = [heatmaps.resize(image.image[None], (size[0], size[1])).clamp(0, 1) for image in self.best]
        channels = max(image.shape[1] for image in shown + images)
        texts = [] if self.picture is None else [(self.picture.captions or ("",))[0]]
        subtitles = ["optimized"] * len(shown) + [f"{image.value:.3g}" for image in self.best]
        drawn = torch.cat([image.expand(-1, channels, -1, -1) for image in shown + images])
        return sheet(drawn, texts + [image.path.stem for image in self.best], subtitles)


def most_exciting(
    flat: FlatModel, objective: Objective, folder: Folder, k: int = 8, crops: bool = False, batch: int = 16
) -> Examples:
    """Find the k images with the highest objective.

    Images get the preprocessing of the network. If two images have the same objective, the first one by name counts. A
    file that cannot be read is skipped; one warning names such files.

    Args:
        flat: The network.
        objective: The objective.
        folder: A folder, whose subfolders count, too; or a list of files.
        k: The number of images to find, at least 1.
        crops: Only for a channel: sort images by the highest value of the channel instead of its mean, and show the
            part of the image that this position depends on.
        batch: The number of images that run together, at least 1. At most `batch` + k images are in memory.

    Raises:
        NotApplicable: The network cannot run on the images, or `crops` is True for an objective that is not a channel.
        ImageError: There are no images, or none can be read.
        NonFiniteError: The objective is NaN or Inf for an image.

    Example:
        >>> import tempfile
        >>> from netlens import open_network
        >>> from netlens.objectives import logit
        >>> from netlens.world.folder import write_world
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     world = write_world(Path(folder) / "world", 6, size=64, progress=False)
        ...     examples = most_exciting(open_network(), logit("striped disc"), world / "images", k=2)
        >>> examples, examples[0].path.parent.name
        (Examples(2 best of 6 images, 0 files skipped), 'striped_disc')
    """
    checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
    k, batch = checked("k", k, int, least=1), checked("a batch", batch, int, least=1)
    if crops and not isinstance(objective, Channel):
        raise NotApplicable(f"crops show where a channel is excited; {objective} is no channel, so leave crops out.")
    flat.keys_of(objective.layers)
    files = _files(folder)
    skipped: list[tuple[Path, str]] = []
    heap: list[tuple[float, int, Example]] = []
    count, chunks = 0, Chunks(batch)
    for paths, x in _batches(flat, files, batch, skipped):
        values, cells = _values_of(flat, objective, x, crops, paths, chunks)
        for path, value, cell, sample in zip(paths, values, cells, x, strict=True):
            # among equal values, an earlier file is better
            if len(heap) < k or (value, -count) > heap[0][:2]:
                entry = (value, -count, _example(flat, objective, path, value, cell, sample))
                (heapq.heappush if len(heap) < k else heapq.heapreplace)(heap, entry)
            count += 1
    if skipped:
        named = "; ".join(f"{path.name}: {why}" for path, why in skipped[:_NAMED])
        and_more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        warnings.warn(
            f"{len(skipped)} of {len(files)} files were skipped: {named}{and_more}", NetLensWarning, stacklevel=2
        )
    if not heap:
        raise ImageError(f"none of the {len(files)} files of {folder} is an image that can be read.")
    return Examples(tuple(example for _, _, example in sorted(heap, reverse=True)), tuple(skipped), count)


def _files(folder: Folder) -> list[Path]:
    if not isinstance(folder, (str, PathLike)):
        return [Path(path) for path in folder]
    root = Path(folder)
    if not root.is_dir():
        raise ImageError(f"{root} is no folder of images; check the path.")
    return in_folder(root)


def _batches(
    flat: FlatModel, files: Iterable[Path], batch: int, skipped: list[tuple[Path, str]]
) -> Iterator[tuple[list[Path], Tensor]]:
    """Batches of images of one size; the last batch may be shorter."""
    weights = weight_of(flat, torch.empty(0))
    preprocessing = preprocessing_of(flat)
    paths: list[Path] = []
    waiting: list[Tensor] = []
    for path in files:
        try:
            sample = preprocessing(path)[0]
        except (ImageError, NonFiniteError) as error:
            skipped.append((path, str(error)))
            continue
        if waiting and (len(waiting) == batch or sample.shape != waiting[0].shape):
            yield paths, torch.stack(waiting).to(weights)
            paths, waiting = [], []
        paths.append(path)
        waiting.append(sample)
    if waiting:
        yield paths, torch.stack(waiting).to(weights)


def _values_of(
    flat: FlatModel, objective: Objective, x: Tensor, crops: bool, paths: Sequence[Path], chunks: Chunks
) -> tuple[list[float], list[Cell | None]]:
    """The value of each image, and for crops (row, column of the highest value, height, width of the map)."""

    def work(first: int, last: int) -> tuple[list[float], list[Cell | None]]:
        return _values_of_chunk(flat, objective, x[first:last], crops, paths[first:last])

    values, cells = zip(*chunks.over(len(x), work, progress=False), strict=True)
    return [*chain(*values)], [*chain(*cells)]


def _values_of_chunk(
    flat: FlatModel, objective: Objective, x: Tensor, crops: bool, paths: Sequence[Path]
) -> tuple[list[float], list[Cell | None]]:
    cells: list[Cell | None] = [None] * len(x)
    with torch.no_grad():
        record = Record(flat, _recorded(flat, objective, x))
        if crops:
            assert isinstance(objective, Channel)
            maps = channel_maps(record, objective.layer, objective.index)
            values, indices = maps.flatten(1).max(1)
            height, width = maps.shape[1:]
            cells = [(int(index) // width, int(index) % width, height, width) for index in indices]
        else:
            values = objective(record)
    if not torch.isfinite(values).all():
        bad = int((~torch.isfinite(values)).nonzero()[0])
        raise NonFiniteError(f"{objective} of {flat.name} is NaN or Inf for {paths[bad]}.")
    return values.cpu().double().tolist(), cells


def _recorded(flat: FlatModel, objective: Objective, x: Tensor) -> dict[str, Tensor]:
    try:
        return flat.record(x, layers=objective.layers)
    except RuntimeError as error:  # layers raise a RuntimeError for a wrong shape
        if isinstance(error, NetLensError) or out_of_memory(error):
            raise
        raise NotApplicable(
            f"{flat.name} cannot run on images of {x.shape[2]} by {x.shape[3]} pixels "
            f"({' '.join(str(error).split())[:160]}); give it an adapter=Adapter(preprocessing=...) with its size."
        ) from error


def _example(flat: FlatModel, objective: Objective, path: Path, value: float, cell: Cell | None, x: Tensor) -> Example:
    height, width = x.shape[1:]
    box = (0, height, 0, width)
    if cell is not None:
        assert isinstance(objective, Channel)
        field_ = receptive_fields(flat.program).get(flat.key(objective.layer))
        box = crop_of(field_, cell[:2], cell[2:], (height, width))
    top, bottom, left, right = box
    image = preprocessing_of(flat).denormalize(x)[:, top:bottom, left:right].float().cpu().clone()
    return Example(path, value, image, box)
