"""What a network reads of whole pictures before a style transfer: references and distances, at once or in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netlens.flat import FlatModel
from netlens.objectives import Objective, Record, Statistic, content, style
from netlens.objectives.parts import Sweep
from netlens.visualization._mosaic import Mosaic, Run
from netlens.visualization.style._reread import Reread


@dataclass(frozen=True)
class PictureReader:
    """Reads pictures, given as the network's input (1, C, H, W), in tiles of the side `tile` if they are larger."""

    flat: FlatModel
    tile: int | None = None

    def styles(
        self, names: Sequence[str], picture: Tensor, like: Tensor, statistic: Statistic, mask: Any, picture_mask: Any
    ) -> list[Objective]:
        """For each layer, the distance from the style of a picture. `like` is an input of the objectives."""
        distance = style(tuple(names), picture, statistic, mask=mask, image_mask=picture_mask, normalized=True)
        sweep = self._sweep(names, picture)
        if sweep is not None:
            with torch.inference_mode(False):
                return list(distance.measured(sweep).apart())
        settled = distance.prepared(self.flat, like)
        return list(settled.apart())

    def contents(self, names: Sequence[str], picture: Tensor) -> list[Objective]:
        """For each layer, the distance from a picture."""
        sweep = self._sweep(names, picture)
        if sweep is None:
            return list(content(tuple(names), picture).prepared(self.flat, picture).apart())
        with torch.inference_mode(False):
            return [Reread.of(self.flat, name, picture, sweep) for name in names]

    def values(self, objectives: Sequence[Objective], picture: Tensor) -> list[float]:
        """The objectives of a picture."""
        layers = list(dict.fromkeys(layer for objective in objectives for layer in objective.layers))
        with torch.inference_mode(False), torch.no_grad():
            mosaic = self._mosaic(layers, picture)
            if mosaic is not None:
                return [float(value) for value in mosaic.values(objectives, picture, self._run(layers))]
            record = Record(self.flat, self.flat.record(picture, layers=layers))
            return [float(objective(record)) for objective in objectives]

    def _sweep(self, names: Sequence[str], picture: Tensor) -> Sweep | None:
        """A function that runs over the tiles of a picture. None if the picture is no larger than a tile."""
        mosaic = self._mosaic(names, picture)
        if mosaic is None:
            return None
        return lambda parts: mosaic.totals(picture, self._run(names), parts)

    def _mosaic(self, names: Sequence[str], picture: Tensor) -> Mosaic | None:
        extent = picture.shape[2], picture.shape[3]
        if self.tile is None or max(extent) <= self.tile:
            return None
        return Mosaic.of(self.flat, names, extent, self.tile, self._run(names))

    def _run(self, names: Sequence[str]) -> Run:
        return lambda part: self.flat.record(part, layers=list(names))
