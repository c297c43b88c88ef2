"""Film: a bounded number of frames of a picture that grows, and the files that play them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from netlens.images import to_pil
from netlens.results import Render

MOST = 48  # frames of a film, without the last one
SIDE = 512  # the longer side of a frame, in pixels
SMALLEST = 256  # films of smaller pictures are enlarged by a whole factor, as browsers show them small and blurred
PER_SECOND = 12
STILL = 12  # how often the last frame comes at the end


class Shot(NamedTuple):
    """A frame: the number of steps after which it was taken, and its pixels (h, w, 3) of 8 bits."""

    step: int
    pixels: np.ndarray


@dataclass(frozen=True)
class Film:
    """Frames of a picture that grows. When there are too many, every second one goes.

    Args:
        shots: The frames in their order.
        every: The number of steps from each frame to the next.

    Example:
        >>> film = Film()
        >>> for step in range(100):
        ...     if film.wants(step):
        ...         film = film.grown(step, torch.zeros(1, 3, 8, 8))
        >>> film.every, [shot.step for shot in film.shots][-3:]
        (4, [88, 92, 96])
    """

    shots: tuple[Shot, ...] = ()
    every: int = 1

    def wants(self, step: int) -> bool:
        """Whether the picture after this step becomes a frame."""
        return step % self.every == 0 and (not self.shots or step > self.shots[-1].step)

    def grown(self, step: int, images: Tensor) -> Film:
        """The film with one more frame, the first of the pictures (N, C, h, w) in [0, 1]."""
        shots, every = (*self.shots, Shot(step, pixels_of(images))), self.every
        while len(shots) > MOST:
            every *= 2
            shots = tuple(shot for shot in shots if shot.step % every == 0)
        return replace(self, shots=shots, every=every)

    @property
    def nbytes(self) -> int:
        """The memory of the frames."""
        return sum(shot.pixels.nbytes for shot in self.shots)


def pixels_of(images: Tensor, side: int = SIDE) -> np.ndarray:
    """The first of the pictures (N, C, h, w) in [0, 1], as pixels (h, w, 3); larger ones are made smaller."""
    picture = to_pil(images[0].detach().float().cpu().clamp(0, 1)).convert("RGB")
    picture.thumbnail((side, side))
    return np.asarray(picture)


def gif(film: Film, render: Render) -> bytes:
    """The film as a GIF, as `Render.save_gif` writes it; its last frame is the result."""
    frames = tuple(torch.from_numpy(frame.copy()).permute(2, 0, 1)[None] / 255 for frame in _frames(film, render))
    played = replace(render, images=frames[-1], frames=frames, state=None, captions=None)
    with tempfile.TemporaryDirectory() as folder:
        return played.save_gif(Path(folder) / "film.gif", seconds=len(frames) / PER_SECOND).read_bytes()


def mp4(film: Film, render: Render) -> bytes:
    """The film as an MP4 that browsers play (H.264); its last frame is the result."""
    import imageio.v3 as iio

    frames = _frames(film, render)
    frames += frames[-1:] * STILL
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        # sides are even already
        iio.imwrite(
            path,
            np.stack(frames),
            plugin="FFMPEG",
            fps=PER_SECOND,
            codec="libx264",
            quality=8,
            macro_block_size=2,
            output_params=["-movflags", "+faststart"],
        )
        return path.read_bytes()


def _frames(film: Film, render: Render) -> list[np.ndarray]:
    """All frames and the result, in one size with even sides."""
    last = pixels_of(render.images)
    factor = max(1, -(-SMALLEST // max(last.shape[:2])))
    height, width = (side * factor + side * factor % 2 for side in last.shape[:2])
    every = [*(shot.pixels for shot in film.shots), last]
    return [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC)) for one in every]
