"""Render: pictures that were made to excite something in a network, with their drawing, their film and their file."""

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
from netlens.results import storage
from netlens.results.provenance import Provenance
from netlens.results.state import State

if TYPE_CHECKING:
    from netlens.show import Picture

GAP = 4  # pixels between the pictures of a grid
PALETTE = 256  # colors that a GIF can have
LARGEST_GIF = 65_535  # pixels of a side
LONGEST_FILM = 600  # seconds; a GIF holds no frame that rests much longer


@dataclass(frozen=True, eq=False, repr=False)
class Render:
    """Pictures made for an objective, N of them, and how they came about.

    images: (N, C, H, W) in [0, 1]; of 2 or 4 channels, the last is their opacity. history: (steps, N), the objective at
    each step, of the pictures as they were disturbed then; NaN once a sample was done. frames: the pictures
    (N, C, h, w) after some of the steps, where they were kept. state: what it takes to go on. captions: what to call
    each picture, where its objective and seed do not say it.

    >>> made_by = Provenance("OptVis", "resnet50", "channel('layer3', 12)")
    >>> r = Render(torch.rand(4, 3, 32, 32), torch.zeros(8, 4), (0, 1, 2, 3), made_by)
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
            about = f"a history {tuple(self.history.shape)} and {len(self.seeds)} seeds"
            raise ResultError(f"There are {len(self)} pictures, but {about}; give (steps, N) and N.")
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
        what = f"{self.provenance.objective} of {self.provenance.network}"
        return f"Render({what}: {len(self)} of {height} × {width}, {len(self.history)} steps)"

    def __getitem__(self, index: int | slice) -> Render:
        """One picture (its batch dimension stays, as 1) or a slice of them; the state is that of the whole."""
        if not isinstance(index, slice):
            if not -len(self) <= index < len(self):
                raise IndexError(f"There are {len(self)} pictures, and none has index {index}.")
            index = slice(index % len(self), index % len(self) + 1)
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
        """(C, H', W'): all pictures, pixel for pixel, side by side on white."""
        return _grid(self.images, columns)

    def show(self, captions: Sequence[str] | None = None, columns: int | None = None) -> Picture:
        """Draw the pictures with their captions: by default their own, else their classes, or their seeds below the
        objective."""
        from netlens.show import sheet  # matplotlib is loaded by those who draw

        return sheet(_opaque(self.images), *self._captions(captions), columns=columns)

    def save(self, path: str | Path, captions: Sequence[str] | None = None, columns: int | None = None) -> Path:
        """Write the pictures (.png), or everything (.safetensors) so that `load` gives it back, state included.

        A PNG holds the pixels of `grid`, or, where captions are given here, the drawing of `show`. The provenance goes
        along; `read_provenance` reads it back.
        """
        suffix = Path(path).suffix
        header: dict[str, Any] = {"provenance": asdict(self.provenance), "seeds": self.seeds, "captions": self.captions}
        if suffix.lower() == ".png":
            drawn = captions is not None
            return storage.write(
                path, self.show(captions, columns).png(header) if drawn else self._png(columns, header)
            )
        if suffix != ".safetensors":
            raise ResultError(f"{path} should end in .png (the pictures) or .safetensors (everything).")
        tensors = {"images": self.images, "render.history": self.history}
        tensors |= {f"frames.{i}": frame for i, frame in enumerate(self.frames)}
        if self.state is not None:
            own, header["state"] = self.state.packed()
            tensors |= own
        return storage.write(path, storage.pack(suffix, tensors, header | {"frames": len(self.frames)}))

    @classmethod
    def load(cls, path: str | Path) -> Render:
        """Read what `save` wrote as .safetensors: the same bits, on the CPU."""
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
        """Write the recorded steps as a film of so many seconds, which rests on the last; smaller ones are enlarged."""
        if Path(path).suffix.lower() != ".gif":
            raise ResultError(f"{path} should end in .gif.")
        if not self.frames:
            raise ResultError("No steps were recorded; render with callbacks=[Frames(every=16)].")
        if not 0 < seconds <= LONGEST_FILM:
            raise ResultError(f"A film takes more than 0 and up to {LONGEST_FILM} seconds, not {seconds}.")
        height, width = self.images.shape[-2:]
        frames = [_grid(heatmaps.resize(frame, (height, width)), columns) for frame in self.frames]
        if max(frames[0].shape[1:]) > LARGEST_GIF:
            raise ResultError(f"A GIF has sides of up to {LARGEST_GIF} pixels, not {tuple(frames[0].shape[1:])}.")
        film = [to_pil(frame).convert("RGB").quantize(PALETTE) for frame in frames]
        each = max(20, round(1000 * seconds / len(film)))  # milliseconds; viewers slow down what is faster
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
        # a lone picture keeps its transparency
        alone = len(self) == 1 and self.images.shape[1] == 4
        to_pil(self.images[0] if alone else self.grid(columns)).save(buffer, "PNG", pnginfo=text)
        return buffer.getvalue()

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]]:
        return self.show()._repr_jpeg_()


def _grid(images: Tensor, columns: int | None) -> Tensor:
    images = _opaque(images.detach().float().cpu().clamp(0, 1))
    n, channels, height, width = images.shape
    if columns is not None and columns < 1:
        raise ResultError(f"A grid of {columns} columns shows nothing.")
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
