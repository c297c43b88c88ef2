"""Regions: the places of pictures of one class that speak most for it, as a question of a survey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.attribution.method import picture
from netlens.flat import FlatModel
from netlens.flat.bundle import key_of
from netlens.flat.keys import OUTPUT
from netlens.flat.receptive import Field, crop_of
from netlens.studies._attributions import explained, maps_of
from netlens.studies._chance import chances
from netlens.survey import Batch, Question, State

CROP = 48
"""The side of the cut-out pictures, in pixels."""
_APART = 1  # a region keeps this distance, in places, from stronger ones
_SUMS = ("count", "sums", "squares")


@dataclass(frozen=True, eq=False)
class Regions(Question):
    """The places of each picture of a class that speak most for it, with the activation there.

    Args:
        layer: The key of the layer.
        label: The class.
        method: The method, by name.
        each: The number of regions of a picture.
        samples: The number of pictures.
        seed: For the choice of pictures.
    """

    runs: ClassVar[bool] = True

    layer: str
    label: int
    method: str
    each: int
    samples: int
    seed: int

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer, OUTPUT)

    def update(self, state: State, batch: Batch) -> State:
        flat = batch.flat
        assert flat is not None
        rows = (batch.labels == self.label).nonzero()[:, 0]
        if len(rows) == 0:
            return state
        maps = batch.maps(self.layer)[rows]
        classes = torch.full((len(rows),), self.label)
        attribution = explained(flat, batch.x[rows], self.method, self.layer, classes)
        relevance = maps_of(attribution).cpu().double().sum(1)
        assert relevance.shape[1:] == maps.shape[2:]  # methods give values of the layer that they are asked about
        places, shares = strongest(relevance, self.each)
        is_region = shares > 0
        sample = torch.arange(len(rows))[:, None].expand_as(is_region)[is_region]
        row, column = places[..., 0][is_region], places[..., 1][is_region]
        everywhere = maps.double().transpose(0, 1).flatten(1)
        batch_state = {
            "vectors": maps[sample, :, row, column],
            "shares": shares[is_region],
            "samples": batch.samples[rows][sample],
            "places": torch.stack([row, column], 1),
            "crops": _crops(flat, batch.x[rows], sample, row, column, (maps.shape[2], maps.shape[3])),
            "chance": chances(self.seed, batch.samples[rows].tolist(), 1)[:, 0][sample],
            "count": torch.tensor([everywhere.shape[1]]),
            "sums": everywhere.sum(1),
            "squares": everywhere.square().sum(1),
        }
        return self.merge(state, batch_state)

    def merge(self, a: State, b: State) -> State:
        if not (a and b):
            return a or b
        merged = {name: a[name] + b[name] if name in _SUMS else torch.cat([a[name], b[name]]) for name in a}
        # whole pictures stay: those of the lowest chance; of equal chances, the lowest samples
        order = torch.stack([merged["chance"], merged["samples"].double()], 1).unique(dim=0)
        if len(order) > self.samples:
            last = order[self.samples - 1]
            is_chosen = (merged["chance"] < last[0]) | ((merged["chance"] == last[0]) & (merged["samples"] <= last[1]))
            merged = {name: one if name in _SUMS else one[is_chosen] for name, one in merged.items()}
        return merged

    def finish(self, state: State) -> State:
        return state


def strongest(relevance: Tensor, each: int) -> tuple[Tensor, Tensor]:
    """The strongest places of maps (N, h, w), none of which touch each other.

    Returns:
        (N, each, 2): the places, strongest first; of equal ones, the first row by row. (N, each): the share of the
        positive relevance of the picture at each of them; 0 where there is no further place with positive relevance.
    """
    n, width = len(relevance), relevance.shape[2]
    left = relevance.clamp(min=0).clone()
    total = left.flatten(1).sum(1)
    places, shares = torch.zeros(n, each, 2, dtype=torch.int64), torch.zeros(n, each, dtype=torch.float64)
    for i in range(each):
        values, index = left.flatten(1).max(1)
        row, column = index // width, index % width
        places[:, i] = torch.stack([row, column], 1)
        shares[:, i] = torch.where(total > 0, values / total.clamp(min=torch.finfo(torch.float64).tiny), 0)
        for sample in range(n):
            r, c = int(row[sample]), int(column[sample])
            left[sample, max(0, r - _APART) : r + _APART + 1, max(0, c - _APART) : c + _APART + 1] = 0
    return places, shares


def _crops(flat: FlatModel, x: Tensor, sample: Tensor, row: Tensor, column: Tensor, places: tuple[int, int]) -> Tensor:
    """(regions, 3, CROP, CROP), uint8: the picture around each region, three places wide."""
    pictures = picture(flat, x, key_of(flat, "input"))
    if pictures is None or pictures.ndim != 4:
        return torch.zeros(len(sample), 3, CROP, CROP, dtype=torch.uint8)
    size = (x.shape[-2], x.shape[-1])
    strides = (max(1, size[0] // places[0]), max(1, size[1] // places[1]))
    # the receptive fields of deep layers are as large as the picture, and show nothing
    field = Field((2 * strides[0] + 1, 2 * strides[1] + 1), strides)
    cut = []
    for s, r, c in zip(sample.tolist(), row.tolist(), column.tolist(), strict=True):
        top, bottom, left, right = crop_of(field, (r, c), places, size)
        one = pictures[s : s + 1, :, top:bottom, left:right].float().cpu()
        cut.append(F.interpolate(one, (CROP, CROP), mode="bilinear", antialias=True))
    crops = (torch.cat(cut) * 255).round().clamp(0, 255).to(torch.uint8)
    return crops.expand(-1, 3, -1, -1) if crops.shape[1] == 1 else crops[:, :3]
