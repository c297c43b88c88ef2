"""Render: pictures that an optimization made for an objective, with a drawing, a film and a file format."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from netlens import heatmaps
from netlens.heatmaps import ResultError
from netlens.images import to_pil
from netlens.options import checked
from netlens.results import storage
from netlens.results._provenance import Provenance
from netlens.results._slices import slice_of
from netlens.results._state import State

if TYPE_CHECKING:
    from netlens.show import Picture

GAP = 4  # pixels between the pictures of a grid
PALETTE = 256  # colors that a GIF can have
SAMPLED = 96  # the side of the sample of a frame from which its colors are chosen
LARGEST_GIF = 65_535  # the longest side of a GIF, in pixels
LONGEST_FILM = 600  # seconds; a GIF cannot show a frame much longer
_DIAGNOSTICS = "diagnostics."  # how the names of these tensors begin in a file


@dataclass(frozen=True, eq=False, repr=False)
class Render:
    """N pictures that an optimization made for an objective, and how it made them.

    Args:
        images: (N, C, H, W) in [0, 1]. If there are 2 or 4 channels, the last one is the opacity.
        history: (steps, N), the objective of the disturbed pictures in each step; NaN after a sample has finished.
        seeds: (N,), the seed of each picture.
        provenance: The renderer, the network and the objective.
        frames: The pictures (N, C, h, w) after some of the steps, if they were stored.
        state: The state from which the optimization can continue; None if there is none.
        captions: (N,), the captions of the pictures; None for captions with classes and seeds.
        diagnostics: Other numbers (N,) by name: "found_nothing" is 1 for a picture that the network never changed. It
            is left out if there is no such picture.

    Raises:
        ResultError: The tensors do not have one row per picture.

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
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or len(self.images) < 1:
            raise ResultError(f"pictures must be (N, C, H, W) with N at least 1, not {tuple(self.images.shape)}.")
        object.__setattr__(self, "seeds", tuple(self.seeds))
        object.__setattr__(self, "frames", tuple(self.frames))
        if self.history.ndim != 2 or self.history.shape[1] != len(self) or len(self.seeds) != len(self):
            counts = f"a history {tuple(self.history.shape)} and {len(self.seeds)} seeds"
            raise ResultError(f"there are {len(self)} pictures, but {counts}; give (steps, N) and N.")
        if any(len(frame) != len(self) for frame in self.frames):
            raise ResultError(f"there are {len(self)} pictures, but frames of {[len(frame) for frame in self.frames]}.")
        if self.captions is not None:
            object.__setattr__(self, "captions", tuple(self.captions))
            if len(self.captions) != len(self):
                raise ResultError(f"there are {len(self)} pictures, but {len(self.captions)} captions.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        height, width = self.images.shape[-2:]
        text = f"{self.provenance.objective} of {self.provenance.network}"
        return f"Render({text}: {len(self)} of {height} × {width}, {len(self.history)} steps)"

    def __getitem__(self, index: int | slice) -> Render:
        """One picture, as a batch of one; or a slice of the pictures. The state, which belongs to all, is left out."""
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
            diagnostics={name: numbers[index] for name, numbers in self.diagnostics.items()},
        )

    def __iter__(self) -> Iterator[Render]:
        return (self[i] for i in range(len(self)))

    # pictures and files

    def grid(self, columns: int | None = None) -> Tensor:
        """(C, H', W'): all pictures side by side on white, with unchanged pixels."""
        return _grid(self.images, columns)

    def show(self, captions: Sequence[str] | None = None, columns: int | None = None) -> Picture:
        """Draw the pictures with captions.

        Args:
            captions: (N,); None for the captions of the render, or else for classes (or the objective) and seeds.
            columns: The number of pictures in a row; None for rows of equal length.
        """
        from netlens.show import sheet  # matplotlib loads only when something is drawn

        return sheet(_opaque(self.images), *self._captions(captions), columns=columns)

    def save(self, path: str | Path, captions: Sequence[str] | None = None, columns: int | None = None) -> Path:
        """Write the pictures (.png), or everything with the state (.safetensors), which `load` reads.

        A PNG holds the pixels of `grid`, or the drawing of `show` if captions are given here. Both files hold the
        provenance, which `read_provenance` reads.

        Raises:
            ResultError: The path has another suffix, or the file cannot be written.
        """
        suffix = Path(path).suffix
        header: dict[str, Any] = {"provenance": asdict(self.provenance), "seeds": self.seeds, "captions": self.captions}
        if suffix.lower() == ".png":
            png = self._png(columns, header) if captions is None else self.show(captions, columns).png(header)
            return storage.write(path, png)
        if suffix != ".safetensors":
            raise ResultError(f"{path} must end in .png (the pictures) or .safetensors (everything).")
        tensors = {"images": self.images, "render.history": self.history}
        tensors |= {f"frames.{i}": frame for i, frame in enumerate(self.frames)}
        tensors |= {f"{_DIAGNOSTICS}{name}": numbers for name, numbers in self.diagnostics.items()}
        if self.state is not None:
            state, header["state"] = self.state.packed()
            tensors |= state
        return storage.write(path, storage.pack(suffix, tensors, header | {"frames": len(self.frames)}))

    @classmethod
    def load(cls, path: str | Path) -> Render:
        """Read a file that `save` wrote as .safetensors: the same bits, on the CPU."""
        tensors, header = storage.unpack(path)
        if "seeds" not in header:
            raise ResultError(f"{path} holds no pictures of OptVis.")
        with storage.readable(path):
            return cls(
                images=tensors["images"],
                history=tensors["render.history"],
                seeds=tuple(header["seeds"]),
                provenance=Provenance.from_dict(header["provenance"]),
                frames=tuple(tensors[f"frames.{i}"] for i in range(header["frames"])),
                state=State.unpacked(tensors, header["state"]) if "state" in header else None,
                captions=header.get("captions"),
                diagnostics={
                    name.removeprefix(_DIAGNOSTICS): t for name, t in tensors.items() if name.startswith(_DIAGNOSTICS)
                },
            )

    def save_gif(self, path: str | Path, seconds: float = 4.0, columns: int | None = None) -> Path:
        """Write the stored frames as a film. The last frame is shown for at least a second. Small frames are enlarged.

        Args:
            path: A file that ends in .gif.
            seconds: The length of the film, above 0 and up to 600.
            columns: The number of pictures in a row.

        Raises:
            ResultError: No frames were kept, or an argument is out of bounds.
        """
        if Path(path).suffix.lower() != ".gif":
            raise ResultError(f"{path} should end in .gif.")
        if not self.frames:
            raise ResultError("no steps were recorded; render with callbacks=[Frames(every=16)].")
        seconds = checked("seconds", seconds, float, above=0, most=LONGEST_FILM, error=ResultError)
        height, width = self.images.shape[-2:]
        frames = [_grid(heatmaps.resize(frame, (height, width)), columns) for frame in self.frames]
        if max(frames[0].shape[1:]) > LARGEST_GIF:
            raise ResultError(f"a GIF has sides of up to {LARGEST_GIF} pixels, not {tuple(frames[0].shape[1:])}.")
        film = [_indexed(to_pil(frame).convert("RGB")) for frame in frames]
        duration = max(20, round(1000 * seconds / len(film)))  # milliseconds; viewers show faster films slowly
        buffer = io.BytesIO()
        durations = [duration] * (len(film) - 1) + [max(duration, 1000)]
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
        # a render of one picture keeps its transparency
        is_transparent = len(self) == 1 and self.images.shape[1] == 4
        to_pil(self.images[0] if is_transparent else self.grid(columns)).save(buffer, "PNG", pnginfo=text)
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


def _indexed(frame: Image.Image) -> Image.Image:
    """A frame with the colors that a GIF can have.

    They are those of a sample of the pixels, because a choice from all pixels takes half a second per frame.
    """
    if max(frame.size) <= SAMPLED or frame.getcolors(PALETTE) is not None:
        return frame.quantize(PALETTE)
    sample = frame.resize((SAMPLED, SAMPLED), Image.Resampling.NEAREST)
    return frame.quantize(palette=sample.quantize(PALETTE), dither=Image.Dither.NONE)


def _opaque(images: Tensor) -> Tensor:
    if images.shape[1] not in (2, 4):
        return images
    opacity = images[:, -1:]
    return images[:, :-1] * opacity + (1 - opacity)
