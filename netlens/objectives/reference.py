"""What objectives about another picture share: its activations, read once and kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError, NonFiniteError, NotApplicable
from netlens.flat.intake import weight_of
from netlens.flat.keys import several
from netlens.flat.model import FlatModel
from netlens.flat.precision import precise
from netlens.objectives.base import Objective, PerSample, Record
from netlens.preprocessing import as_batch


@dataclass(frozen=True, repr=False, eq=False)
class Reference(PerSample):
    """Abstract: an objective that compares activations with those that the same network has on another picture.

    names: the layers that it reads; the objective is the mean over them.
    image: the other picture, or a batch of them with one per sample; whatever `as_batch` takes, so a float tensor is
    taken as preprocessed and all else is preprocessed as the network wants it.

    `settled` runs the network once on the picture and keeps what is needed of it; not settled, it runs at every call.
    """

    names: tuple[str, ...]
    image: Any
    kept: tuple[tuple[Tensor, ...], ...] | None = field(default=None, kw_only=True)  # of each layer, once settled
    rows: tuple[int, ...] | None = field(default=None, kw_only=True)  # the samples taken before it was settled
    several: ClassVar[str] = "pictures"  # what there are several of, where each sample has its own

    def __post_init__(self) -> None:
        if not self.names:
            raise NetLensError("no layer was given; name at least one.")

    @property
    def layers(self) -> tuple[str, ...]:
        return self.names

    def __call__(self, record: Record) -> Tensor:
        kept = self.kept if self.kept is not None else self._read(record.flat, None)
        values = []
        for name, theirs in zip(self.names, kept, strict=True):
            mine, count = record[name], len(theirs[0])
            if count not in (1, len(mine)):
                raise NetLensError(
                    f"{self} has {count} {self.several} for {len(mine)} samples; there must be one, or one for each."
                )
            values.append(self.compared(record, name, *(one.to(mine.device) for one in theirs)))
        return torch.stack(values).mean(0)

    def take(self, samples: Sequence[int]) -> Objective:
        rows = tuple(samples)
        if self.kept is not None:
            return replace(self, kept=_rows(self.kept, rows))
        return replace(self, rows=rows if self.rows is None else tuple(self.rows[row] for row in rows))

    def prepared(self, flat: FlatModel, x: Tensor) -> Objective:
        return self if self.kept is not None else replace(self, kept=self._read(flat, x))

    @abstractmethod
    def keep(self, record: Record, name: str) -> tuple[Tensor, ...]:
        """What is kept of a layer's activation on the other picture or pictures: tensors (M, ...)."""

    @abstractmethod
    def compared(self, record: Record, name: str, *theirs: Tensor) -> Tensor:
        """(N,): the activation of a layer compared with what was kept, which is (1, ...) or (N, ...)."""

    def sized(self, batch: Tensor, x: Tensor) -> Tensor:
        """The other picture in the size in which it is looked at, beside x; by default its own."""
        return batch

    def _read(self, flat: FlatModel, x: Tensor | None) -> tuple[tuple[Tensor, ...], ...]:
        # what is made under inference_mode could take no part in gradients later
        with torch.inference_mode(False), torch.no_grad():
            batch = _batch(self.image, flat, x)
            if x is not None:
                batch = self.sized(batch.to(x), x)
            read = flat.record(batch, layers=self.names)
            record = Record(flat, {key: precise(value) for key, value in read.items()})
            for name in self.names:
                _check_read(record, name, len(batch))
            kept = tuple(self.keep(record, name) for name in self.names)
            return kept if self.rows is None else _rows(kept, self.rows)


def names_of(layers: str | Sequence[str]) -> tuple[str, ...]:
    """One or several layers as they may be given: a single one need be no list."""
    return tuple(several(layers))  # type: ignore[arg-type]


def resized(batch: Tensor, x: Tensor) -> Tensor:
    """Pictures (M, C, H, W) in the height and width of x; what has no height and width stays as it is."""
    if batch.ndim != 4 or x.ndim != 4 or batch.shape[2:] == x.shape[2:]:
        return batch
    return F.interpolate(batch, x.shape[2:], mode="bilinear", antialias=True)


def weights_of(mask: Any, maps: Tensor, key: str) -> Tensor | None:
    """(h, w): a mask (H, W) of weights averaged over the area of each position of maps (N, C, h, w); None for None."""
    if mask is None:
        return None
    if maps.shape[2:] == (1, 1):
        raise NotApplicable(f"layer {key!r} has no positions that a mask could weigh; choose a layer with maps.")
    weights = torch.as_tensor(mask)
    if weights.ndim != 2:
        raise NetLensError(f"a mask is (H, W), not {tuple(weights.shape)}.")
    if weights.is_complex() or not torch.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise NetLensError("a mask holds True and False, or finite weights from 0 of which one at least is above 0.")
    return F.adaptive_avg_pool2d(weights.to(maps)[None, None], (maps.shape[2], maps.shape[3]))[0, 0]


def check_alive(values: Tensor, record: Record, name: str) -> None:
    """Raise if these values of the other picture are all 0, so that distances from them cannot be measured by them."""
    if not (values != 0).flatten(1).any(1).all():
        raise NotApplicable(
            f"layer {name!r} of {record.flat.name} is all 0 where it is looked at in the picture, so distances from it "
            "have no unit; choose another layer, or normalized=False."
        )


def _check_read(record: Record, name: str, pictures: int) -> None:
    value = record.raw(name)
    if not isinstance(value, Tensor) or len(value) != pictures:
        what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise NotApplicable(
            f"layer {name!r} of {record.flat.name} has an activation of {what} for {pictures} picture(s), not one for "
            "each; choose a layer outside of windows and boxes."
        )
    finite = torch.isfinite(value).flatten(1).all(1)
    if not finite.all():
        sample = int((~finite).nonzero()[0])
        raise NonFiniteError(
            f"layer {name!r} of {record.flat.name} holds NaN or Inf for picture {sample} of the objective."
        )


def _batch(image: Any, flat: FlatModel, x: Tensor | None) -> Tensor:
    ready = isinstance(image, Tensor) and image.is_floating_point()
    if ready and image.ndim == 2:
        batch = image  # the input of a network that takes vectors
    else:
        channels = x.shape[1] if x is not None and x.ndim == 4 else None
        batch = as_batch(image, None if ready else flat.adapter.preprocessing, channels)
    weights = weight_of(flat, batch)
    # a copy, as the network may keep the picture itself (layer "input"), which its owner may go on to change
    return batch.detach().to(weights, copy=True)


def _rows(kept: Sequence[Sequence[Tensor]], rows: Sequence[int]) -> tuple[tuple[Tensor, ...], ...]:
    """What is kept of these samples; what there is one of stands for all of them."""
    return tuple(tuple(one[list(rows)] if len(one) > 1 else one for one in tensors) for tensors in kept)
