"""The distance from a picture that is too large to keep its activations, so that they are read again for each tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import Objective, Record
from netlens.objectives.parts import Part, Place, Sweep
from netlens.visualization._mosaic import tile_around


@dataclass(frozen=True, repr=False, eq=False)
class Reread(Objective):
    """The squared distance between the activations of a layer on two pictures, relative to those of the reference.

    It is `content` of one layer, without its memory: the map of an early layer takes several times the memory of the
    picture. Reading it again takes two runs up to this layer for each tile and step.

    Args:
        name: The layer.
        front: The network up to this layer. It is a flat model of its own, because the layout of a record follows the
            latest input of its flat model.
        picture: The network's input for the reference (1, C, H, W).
        unit: (1,), the sum of the squared activations of the reference.
    """

    name: str
    front: FlatModel
    picture: Tensor
    unit: Tensor

    @classmethod
    def of(cls, flat: FlatModel, name: str, picture: Tensor, sweep: Sweep) -> Reread:
        """The distance from a picture, over whose tiles `sweep` runs.

        Raises:
            NotApplicable: The layer is all 0 on the picture.
        """
        (unit,) = sweep(lambda record, at: [_squared(at[name].of(record.maps(name)))])
        if not unit.all():
            raise NotApplicable(
                f"layer {name!r} is all 0 on the content, so distances cannot be normalized; choose another."
            )
        return cls(name, flat.cut(name), picture, unit)

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.name,)

    def __call__(self, record: Record) -> Tensor:
        shape = record.maps(self.name).shape[2:]
        whole = Place((0, shape[0]), (0, shape[1]), (0, 0), (shape[0], shape[1]))
        return self.joined([part.values for part in self.parts(record, {self.name: whole})])

    def parts(self, record: Record, at: Mapping[str, Place]) -> tuple[Part, ...]:
        place = at[self.name]
        maps = place.of(record.maps(self.name))
        return (_squared(maps - self._reference(place).to(maps)),)

    def joined(self, totals: Sequence[Tensor]) -> Tensor:
        return totals[0] / self.unit.to(totals[0])

    @property
    def n_parts(self) -> int:
        return 1

    def _reference(self, place: Place) -> Tensor:
        extent = self.picture.shape[2], self.picture.shape[3]
        tile = tile_around(self.front, self.name, place, extent)
        with torch.no_grad():
            record = Record(self.front, self.front.record(tile.of(self.picture), layers=[self.name]))
            return tile.places[self.name].of(record.maps(self.name))

    def __repr__(self) -> str:
        return f"content({self.name!r})"


def _squared(maps: Tensor) -> Part:
    return Part(maps.square().sum((1, 2, 3)))
