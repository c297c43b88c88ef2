"""Album: the pictures of a report, as small files beside its pages."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from netlens import files
from netlens.images import to_pil

FOLDER = "pictures"
SIDE = 192  # the longer side of a picture, in pixels
SMALL = 96  # that of a crop
_QUALITY = 88


@dataclass(frozen=True)
class Shot:
    """A picture of a page.

    Args:
        src: The file, from the folder of the page.
        width: Its width, in pixels.
        height: Its height, in pixels.
    """

    src: str
    width: int
    height: int


class Album:
    """Writes the pictures of a report, each once, and knows them by name.

    Args:
        root: The folder of the pages.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shots: dict[str, Shot] = {}
        (root / FOLDER).mkdir()

    def add(self, name: str, picture: Tensor | NDArray[np.uint8], side: int = SIDE) -> Shot:
        """Write a picture under a name of letters, digits and hyphens; if there is one of this name, return that.

        Args:
            name: The name, which no data of the user is part of.
            picture: (C, H, W) in [0, 1], or pixels (H, W, 3 or 4).
            side: The longer side that it gets, in pixels. Small pictures are enlarged by a whole number.
        """
        if name not in self.shots:
            image = _scaled(_rgb(picture), side)
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=_QUALITY)
            src = f"{FOLDER}/{name}.jpg"
            files.write(self.root / src, buffer.getvalue())
            self.shots[name] = Shot(src, image.width, image.height)
        return self.shots[name]


def _rgb(picture: Tensor | NDArray[np.uint8]) -> Image.Image:
    if isinstance(picture, Tensor):
        colors = picture if len(picture) == 3 else picture.mean(0, keepdim=True).expand(3, -1, -1)
        return to_pil(colors.clamp(0, 1))
    return Image.fromarray(np.ascontiguousarray(picture[..., :3]))


def _scaled(image: Image.Image, side: int) -> Image.Image:
    longest = max(image.size)
    if longest < side:
        # whole pixels stay whole: a receptive field of 16 pixels is looked at pixel by pixel
        times: Any = -(-side // longest)
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    size = (max(1, round(image.width * side / longest)), max(1, round(image.height * side / longest)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
