"""Looking inside: what a layer, a channel, or a layer at a place of a picture says. Numbers and pictures, no page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from netlens import images, objectives
from netlens.attribution import InputXGradient, IntegratedGradients
from netlens.errors import NetLensError, NotApplicable
from netlens.flat.receptive import receptive_fields
from netlens.lens import NetLens
from netlens.objectives import Record
from netlens.results import Attribution, Provenance, Render
from netlens.show import Look, overlay
from netlens.visualization import NetDreamer, OptVis, most_exciting
from netlens.visualization.params import Fourier

SIDE = 160  # pixels of a picture that is drawn for a channel
STEPS = 96
SEARCHED = 240  # pictures of the folder among which the most exciting ones are found
_PATH = 12  # steps of integrated gradients


@dataclass(frozen=True)
class Firing:
    """A channel and a number."""

    channel: int
    value: float


def maps_of(lens: NetLens, key: str) -> Tensor:
    """The activation of a layer for the picture, as maps (C, h, w); a layer without positions has maps of 1 by 1."""
    key = lens.flat.key(key)
    with torch.no_grad():
        values = lens.flat.record(lens.x, layers=key)
    value = values[key]
    if isinstance(value, Tensor) and value.ndim == 2:
        return value[0, :, None, None]
    return Record(lens.flat, values).maps(key)[0]


def strongest(maps: Tensor, most: int) -> list[Firing]:
    """The channels with the highest mean, the highest first."""
    means = maps.flatten(1).float().mean(1)
    values, channels = means.topk(min(most, len(means)))
    return [Firing(*pair) for pair in zip(channels.tolist(), values.tolist(), strict=True)]


def cell_of(maps: Tensor, at: tuple[float, float]) -> tuple[int, int]:
    """The row and the column of the maps at a place of the picture."""
    height, width = maps.shape[1:]
    return min(int(at[1] * height), height - 1), min(int(at[0] * width), width - 1)


def firing(maps: Tensor, cell: tuple[int, int], most: int) -> list[Firing]:
    """The channels with the highest values at a position, the highest first."""
    values, channels = maps[:, cell[0], cell[1]].float().topk(min(most, len(maps)))
    return [Firing(*pair) for pair in zip(channels.tolist(), values.tolist(), strict=True)]


def spoken(lens: NetLens, key: str, cell: tuple[int, int], most: int) -> list[Firing]:
    """What the channels at a position say for the class: their value times the gradient of its score.

    The channels with the largest shares come first, whatever their sign.
    """
    shares = lens.attribute(InputXGradient(), wrt=key).values
    maps = shares[:, :, None, None] if shares.ndim == 2 else Record(lens.flat, {lens.flat.key(key): shares}).maps(key)
    column = maps[0, :, cell[0], cell[1]].float()
    channels = column.abs().topk(min(most, len(column))).indices.tolist()
    return [Firing(channel, float(column[channel])) for channel in channels]


def drawn_map(lens: NetLens, values: Tensor, side: int = 192) -> Image.Image:
    """A map (h, w) over the picture."""
    if lens.image is None:
        raise NotApplicable("the input is no picture, so there is nothing to draw over.")
    origin = Provenance("activation", lens.flat.name, "")
    result = Attribution(values[None, None].float().cpu(), lens.image[:1].float().cpu(), origin, reduction="cam")
    return Image.fromarray(overlay(result, Look())[0]).convert("RGB").resize((side, side))


def attributed(lens: NetLens, key: str, channel: int) -> Attribution:
    """Which pixels of the picture raise the channel."""
    return lens.attribute(IntegratedGradients(n_steps=_PATH), objectives.channel(key, channel))


def receptive_box(
    lens: NetLens, key: str, cell: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """The part of the picture that a position of a layer depends on: left, top, right, bottom; None if unknown."""
    field = receptive_fields(lens.flat.program).get(lens.flat.key(key))
    height, width = lens.x.shape[-2:]
    if field is None or field.size is None:
        return None
    edges = []
    sides = zip(cell, size, (height, width), field.size, field.stride, strict=True)
    for index, count, length, reach, stride in sides:
        # the padding on both sides differs by less than a stride, so the middles of the map and of the input coincide
        middle, half = length / 2 + (index - (count - 1) / 2) * stride, (reach + stride - 1) / 2
        edges.append((max(0, math.floor(middle - half)), min(length, math.ceil(middle + half))))
    (top, bottom), (left, right) = edges
    return left, top, max(right, left + 1), max(bottom, top + 1)


def marked(lens: NetLens, box: tuple[int, int, int, int] | None, side: int = 320) -> Image.Image:
    """The picture with a frame around a part of it."""
    if lens.image is None:
        raise NotApplicable("the input is no picture.")
    photo = images.to_pil(lens.image[0].float().cpu().clamp(0, 1)).convert("RGB")
    scale = side / max(photo.size)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    if box is not None:
        frame = [round(edge * scale) for edge in box]
        pen = ImageDraw.Draw(photo)
        pen.rectangle(frame, outline="black", width=4)
        pen.rectangle([frame[0] + 1, frame[1] + 1, frame[2] - 1, frame[3] - 1], outline="white", width=2)
    return photo


def cropped(lens: NetLens, box: tuple[int, int, int, int], side: int = 192) -> Image.Image:
    """A part of the picture, enlarged."""
    assert lens.image is not None
    photo = images.to_pil(lens.image[0].float().cpu().clamp(0, 1)).convert("RGB").crop(box)
    scale = side / max(photo.size)
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    return photo.resize(size, Image.Resampling.BICUBIC)


def pictured_place(lens: NetLens, key: str, cell: tuple[int, int]) -> Image.Image:
    """A picture that the layer sees as it sees the position: the atlas's picture of its activation."""
    vector = maps_of(lens, key)[:, cell[0], cell[1]]
    if not vector.any():
        raise NotApplicable(f"layer {key!r} is 0 at this position, so there is nothing to draw.")
    unit = torch.nn.functional.normalize(vector[None].float(), dim=1)
    vis = OptVis(lens.flat, objectives.direction(key, unit, cosine_power=1.0))
    return _picture(vis.render(Fourier(size=side_of(lens), batch=1, seed=(0,)), steps=STEPS, progress=False))


def side_of(lens: NetLens) -> int:
    """The side of the pictures that are drawn: small, so that they come soon."""
    size = lens.flat.adapter.preprocessing.size
    return SIDE if size is None else min(SIDE, *size)


def dreamer(lens: NetLens) -> NetDreamer:
    """What draws the pictures of channels."""
    return NetDreamer(lens.flat, size=side_of(lens), steps=STEPS, progress=False)


def _picture(render: Render) -> Image.Image:
    return images.to_pil(render.images[0].clamp(0, 1)).convert("RGB")


def pictures_of(render: Render) -> list[Image.Image]:
    """The pictures of a render."""
    return [images.to_pil(one.clamp(0, 1)).convert("RGB") for one in render.images]


def exciting(
    lens: NetLens, key: str, channel: int, files: list[Any], most: int
) -> list[tuple[Image.Image, str, float]]:
    """The parts of pictures that excite a channel most, each with its name and the value of the channel."""
    examples = most_exciting(lens.flat, objectives.channel(key, channel), files[:SEARCHED], most, crops=True)
    return [(images.to_pil(one.image.clamp(0, 1)).convert("RGB"), one.path.stem, one.value) for one in examples]


def check_channel(maps: Tensor, key: str, channel: int) -> None:
    """Raise if a layer has no such channel."""
    if channel >= len(maps):
        raise NetLensError(f"layer {key!r} has no channel {channel}; its channels are 0 to {len(maps) - 1}.")
