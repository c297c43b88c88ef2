"""Render: pictures that an optimization made for an objective, with their drawing, their film and their file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from netlens import heatmaps
from netlens.heatmaps import ResultError
from netlens.images import to_pil
from netlens.options import checked
from netlens.results import storage
from netlens.results.provenance import Provenance
from netlens.results.slices import slice_of
from netlens.results.state import State

if TYPE_CHECKING:
    from netlens.show import Picture

GAP = 4  # pixels between the pictures of a grid
PALETTE = 256  # colors that a GIF can have
LARGEST_GIF = 65_535  # pixels of a side
LONGEST_FILM = 600  # seconds; a frame of a GIF cannot rest much longer


@dataclass(frozen=True, eq=False, repr=False)
class Render:
    """N pictures that an optimization made for an objective, and the way in which it made them.

    Args:
        images: (N, C, H, W) in [0, 1]; the last of 2 or 4 channels is the opacity.
        history: (steps, N), the objective of the disturbed pictures at each step; NaN after a sample has stopped.
        seeds: (N,), the seed of each picture.
        provenance: the renderer, the network and the objective.
        frames: the pictures (N, C, h, w) after some of the steps, if they were kept.
        state: what is needed to continue the optimization.
        captions: (N,), the captions of the pictures; None for captions from their classes and seeds.

    Raises:
        ResultError: the parts do not have one row per picture.

    Example:
        >>> origin = Provenance("OptVis", "resnet50", "channel('layer3', 12)")
        >>> r = Render(torch.rand(4, 3, 32, 32), torch.zeros(8, 4), (0, 1, 2, 3), origin)
        >>> r, r[1:3].seeds, r.grid(columns=2).shape
        (Render(channel('layer3', 12) of resnet50: 4 of 32 × 32, 8 steps), (1, 2), torch.Size([3, 68, 68]))
    """

    images: Tensor
    history: Tensor
    seeds: tuple[int, ...]
    provenance: Provenance
    frames: tuple[Tensor, ...] = ()
    state: State | None = None
    captions: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or len(self.images) < 1:
            raise ResultError(f"Pictures are (N,C,H,W), at least one, not {tuple(self.images.shape)}.")
        object.__setattr__(self, "seeds", tuple(self.seeds))
        object.__setattr__(self, "frames", tuple(self.frames))
        if self.history.ndim != 2 or self.history.shape[1] != len(self) or len(self.seeds) != len(self):
            counts = f"a history {tuple(self.history.shape)} and {len(self.seeds)} seeds"
            raise ResultError(f"There are {len(self)} pictures, but {counts}; give (steps, N) and N.")
        if any(len(frame) != len(self) for frame in self.frames):
            raise ResultError(f"There are {len(self)} pictures, but frames of {[len(frame) for frame in self.frames]}.")
        if self.captions is not None:
            object.__setattr__(self, "captions", tuple(self.captions))
            if len(self.captions) != len(self):
                raise ResultError(f"There are {len(self)} pictures, but {len(self.captions)} captions.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        height, width = self.images.shape[-2:]
        text = f"{self.provenance.objective} of {self.provenance.network}"
        return f"Render({text}: {len(self)} of {height} × {width}, {len(self.history)} steps)"

    def __getitem__(self, index: int | slice) -> Render:
        """One picture, as a batch of one, or a slice of the pictures. The state belongs to all and is left out."""
        index = slice_of(index, len(self), "pictures")
        return replace(
            self,
            images=self.images[index],
            history=self.history[:, index],
            seeds=self.seeds[index],
            provenance=self.provenance.of(index),
            frames=tuple(frame[index] for frame in self.frames),
            state=None,
            captions=None if self.captions is None else self.captions[index],
        )

    def __iter__(self) -> Iterator[Render]:
        return (self[i] for i in range(len(self)))

    # pictures and files

    def grid(self, columns: int | None = None) -> Tensor:
        """(C, H', W'): all pictures side by side on white, pixel for pixel."""
        return _grid(self.images, columns)

    def show(self, captions: Sequence[str] | None = None, columns: int | None = None) -> Picture:
        """Draw the pictures with captions.

        Args:
            captions: (N,); None for the captions of the render, or for classes (or the objective) and seeds.
            columns: the number of pictures in a row; None for rows of equal length.
        """
        from netlens.show import sheet  # matplotlib loads only when something is drawn

        return sheet(_opaque(self.images), *self._captions(captions), columns=columns)

    def save(self, path: str | Path, captions: Sequence[str] | None = None, columns: int | None = None) -> Path:
        """Write the pictures (.png), or everything with the state (.safetensors), which `load` reads.

        A PNG holds the pixels of `grid`, or the drawing of `show` if captions are given here. Both files hold the
        provenance, which `read_provenance` reads.

        Raises:
            ResultError: the suffix is another one, or the file cannot be written.
        """
        suffix = Path(path).suffix
        header: dict[str, Any] = {"provenance": asdict(self.provenance), "seeds": self.seeds, "captions": self.captions}
        if suffix.lower() == ".png":
            png = self._png(columns, header) if captions is None else self.show(captions, columns).png(header)
            return storage.write(path, png)
        if suffix != ".safetensors":
            raise ResultError(f"{path} should end in .png (the pictures) or .safetensors (everything).")
        tensors = {"images": self.images, "render.history": self.history}
        tensors |= {f"frames.{i}": frame for i, frame in enumerate(self.frames)}
        if self.state is not None:
            state, header["state"] = self.state.packed()
            tensors |= state
        return storage.write(path, storage.pack(suffix, tensors, header | {"frames": len(self.frames)}))

    @classmethod
    def load(cls, path: str | Path) -> Render:
        """Read a file that `save` wrote as .safetensors: the same bits, on the CPU."""
        tensors, header = storage.unpack(path)
        if "seeds" not in header:
            raise ResultError(f"{path} holds no pictures made by OptVis.")
        with storage.readable(path):
            return cls(
                images=tensors["images"],
                history=tensors["render.history"],
                seeds=tuple(header["seeds"]),
                provenance=Provenance.from_dict(header["provenance"]),
                frames=tuple(tensors[f"frames.{i}"] for i in range(header["frames"])),
                state=State.unpacked(tensors, header["state"]) if "state" in header else None,
                captions=header.get("captions"),
            )

    def save_gif(self, path: str | Path, seconds: float = 4.0, columns: int | None = None) -> Path:
        """Write the kept frames as a film, whose last frame rests for a second or more. Smaller frames are enlarged.

        Args:
            path: a file that ends in .gif.
            seconds: the length of the film, above 0 and up to 600.
            columns: the number of pictures in a row.

        Raises:
            ResultError: no frames were kept, or an argument is out of bounds.
        """
        if Path(path).suffix.lower() != ".gif":
            raise ResultError(f"{path} should end in .gif.")
        if not self.frames:
            raise ResultError("No steps were recorded; render with callbacks=[Frames(every=16)].")
        seconds = checked("seconds", seconds, float, above=0, most=LONGEST_FILM, error=ResultError)
        height, width = self.images.shape[-2:]
        frames = [_grid(heatmaps.resize(frame, (height, width)), columns) for frame in self.frames]
        if max(frames[0].shape[1:]) > LARGEST_GIF:
            raise ResultError(f"A GIF has sides of up to {LARGEST_GIF} pixels, not {tuple(frames[0].shape[1:])}.")
        film = [to_pil(frame).convert("RGB").quantize(PALETTE) for frame in frames]
        each = max(20, round(1000 * seconds / len(film)))  # milliseconds; viewers show faster films slowly
        buffer = io.BytesIO()
        durations = [each] * (len(film) - 1) + [max(each, 1000)]
        film[0].save(buffer, "GIF", save_all=True, append_images=film[1:], duration=durations, loop=0)
        return storage.write(path, buffer.getvalue())

    def _captions(self, captions: Sequence[str] | None) -> tuple[list[str], list[str] | None]:
        if captions is not None:
            return list(captions), None
        if self.captions is not None:
            return list(self.captions), None
        subjects = [self.provenance.subject(sample) for sample in range(len(self))]
        return subjects, [f"seed {seed}" for seed in self.seeds]

    def _png(self, columns: int | None, header: dict[str, Any]) -> bytes:
        text = PngInfo()
        text.add_text(storage.KEY, json.dumps(header))
        buffer = io.BytesIO()
        # a single picture keeps its transparency
        alone = len(self) == 1 and self.images.shape[1] == 4
        to_pil(self.images[0] if alone else self.grid(columns)).save(buffer, "PNG", pnginfo=text)
        return buffer.getvalue()

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]]:
        return self.show()._repr_jpeg_()


def _grid(images: Tensor, columns: int | None) -> Tensor:
    images = _opaque(images.detach().float().cpu().clamp(0, 1))
    n, channels, height, width = images.shape
    columns = checked("columns", columns, int | None, least=1, error=ResultError)
    across = min(n, columns if columns is not None else round(n**0.5 + 0.499))
    down = -(-n // across)
    grid = torch.ones(channels, down * (height + GAP) - GAP, across * (width + GAP) - GAP)
    for i, image in enumerate(images):
        y, x = i // across * (height + GAP), i % across * (width + GAP)
        grid[:, y : y + height, x : x + width] = image
    return grid


def _opaque(images: Tensor) -> Tensor:
    if images.shape[1] not in (2, 4):
        return images
    opacity = images[:, -1:]
    return images[:, :-1] * opacity + (1 - opacity)
