"""Masks: pictures beside those of a data set, white where the cause of the label is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from netlens.errors import NetLensError
from netlens.images import SUFFIXES
from netlens.preprocessing import Preprocessing


def listing(folder: str) -> tuple[tuple[str, int, int], ...]:
    """The name, the size and the time of change of each mask in a folder, which show a change of the masks."""
    root = Path(folder)
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    states = ((path, path.stat()) for path in paths)
    return tuple((path.relative_to(root).as_posix(), state.st_size, state.st_mtime_ns) for path, state in states)


def masks_of(
    folder: str, names: Sequence[str], preprocessing: Preprocessing, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The masks of some pictures, cut and resized as the pictures are.

    Args:
        folder: The folder of the masks. A mask has the path of its picture; the suffix may differ.
        names: The paths of the pictures, within the folder of the data.
        preprocessing: How a picture becomes an input.
        size: The height and width of the input.

    Returns:
        (N, H, W), bool: the masks; and (N,), bool: whether the picture has one.

    Raises:
        NetLensError: There is no such folder, or a mask is not as large as its picture.
    """
    if not Path(folder).is_dir():
        raise NetLensError(f"{folder} is no folder of masks; check masks=.")
    masks = torch.zeros(len(names), *size, dtype=torch.bool)
    has_mask = torch.zeros(len(names), dtype=torch.bool)
    for i, name in enumerate(names):
        path = _path(Path(folder), name)
        if path is None:
            continue
        mask = mask_of(path, preprocessing)
        if tuple(mask.shape) != size:
            raise NetLensError(f"{path} gives a mask of {tuple(mask.shape)} pixels, but its picture has {size}.")
        masks[i], has_mask[i] = mask, True
    return masks, has_mask


def mask_of(picture: str | Path | Image.Image, preprocessing: Preprocessing) -> Tensor:
    """(H, W), bool: the mask that a picture shows in white, cut and resized as the preprocessing does with pictures."""
    plain = replace(preprocessing, mean=(0.0,), std=(1.0,), fill=(0, 0, 0), doubt="")
    return plain(picture)[0, 0] > 0.5


def _path(folder: Path, name: str) -> Path | None:
    """The mask of a picture: of the same name, with any suffix; None if there is none."""
    if Path(name).is_absolute():
        raise NetLensError(
            f"masks lie parallel to a folder of pictures, but {name} is a path of its own; give the folder."
        )
    stem = Path(name)
    candidates = (folder / stem, *(folder / stem.with_suffix(suffix) for suffix in SUFFIXES))
    return next((path for path in candidates if path.is_file()), None)
