"""The base of objectives that compare activations with those of another picture, the reference."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError, NonFiniteError, NotApplicable
from netlens.finite import all_finite, first_bad
from netlens.flat import FlatModel
from netlens.flat.intake import fitted
from netlens.objectives._base import Objective, PerSample, Record
from netlens.precision import precise
from netlens.preprocessing import as_batch

R = TypeVar("R", bound="Reference")


@dataclass(frozen=True, repr=False, eq=False)
class Reference(PerSample):
    """Abstract: compares activations with those that the same network has on another picture, the reference.

    `prepared` runs the network on the reference once, and stores the tensors that the comparison needs. An objective
    that is not prepared runs the network on the reference in every call.

    Args:
        names: The layers to compare. The objective is the mean over them.
        image: The reference, or a batch of references with one per sample, in a form that `as_batch` takes. A float
            tensor is preprocessed already. Anything else gets the preprocessing of the network.
    """

    names: tuple[str, ...]
    image: Any
    prepared_tensors: tuple[tuple[Tensor, ...], ...] | None = field(
        default=None, kw_only=True
    )  # for each layer; None before the objective is prepared
    rows: tuple[int, ...] | None = field(default=None, kw_only=True)  # the samples that `take` chose before
    plural: ClassVar[str] = "pictures"  # the word for what samples have, in error messages

    def __post_init__(self) -> None:
        if not self.names:
            raise NetLensError("layers is empty; name at least one layer.")

    @property
    def layers(self) -> tuple[str, ...]:
        return self.names

    def __call__(self, record: Record) -> Tensor:
        reference_tensors = (
            self.prepared_tensors if self.prepared_tensors is not None else self._run_on_reference(record.flat, None)
        )
        values = []
        for name, reference in zip(self.names, reference_tensors, strict=True):
            activation, count = record[name], len(reference[0])
            if count not in (1, len(activation)):
                raise NetLensError(
                    f"{self} has {count} {self.plural} for {len(activation)} samples; there must be one, or one for "
                    "each sample."
                )
            values.append(self.compare(record, name, *(tensor.to(activation.device) for tensor in reference)))
        return torch.stack(values).mean(0)

    def take(self, samples: Sequence[int]) -> Objective:
        rows = tuple(samples)
        if self.prepared_tensors is not None:
            return replace(self, prepared_tensors=_rows(self.prepared_tensors, rows))
        return replace(self, rows=rows if self.rows is None else tuple(self.rows[row] for row in rows))

    def prepared(self: R, flat: FlatModel, x: Tensor) -> R:
        return (
            self
            if self.prepared_tensors is not None
            else replace(self, prepared_tensors=self._run_on_reference(flat, x))
        )

    @abstractmethod
    def reference_tensors(self, record: Record, name: str) -> tuple[Tensor, ...]:
        """The tensors (M, ...) of a layer on M references that `compare` needs."""

    @abstractmethod
    def compare(self, record: Record, name: str, *reference: Tensor) -> Tensor:
        """(N,): compare the activation of a layer with its `reference_tensors`, each (1, ...) or (N, ...)."""

    def apart(self: R) -> list[R]:
        """The objective of each layer alone, once it has read its reference."""
        return [replace(self, names=(name,), prepared_tensors=(tensors,)) for name, tensors in self._references()]

    def _references(self) -> list[tuple[str, tuple[Tensor, ...]]]:
        """Each layer with its tensors, for pictures in tiles."""
        if self.prepared_tensors is None:
            raise NetLensError(f"{self} has not read its reference yet; call prepared first.")
        return list(zip(self.names, self.prepared_tensors, strict=True))

    @property
    def n_parts(self) -> int:
        return len(self.names)

    def resized_reference(self, batch: Tensor, x: Tensor) -> Tensor:
        """The references, resized for a comparison with the input x. By default, they keep their size."""
        return batch

    def _run_on_reference(self, flat: FlatModel, x: Tensor | None) -> tuple[tuple[Tensor, ...], ...]:
        # autograd cannot use tensors that are made under inference_mode
        with torch.inference_mode(False), torch.no_grad():
            batch = _batch(self.image, flat, x)
            if x is not None:
                batch = self.resized_reference(batch.to(x), x)
            activations = flat.record(batch, layers=self.names)
            record = Record(flat, {key: precise(value) for key, value in activations.items()})
            for name in self.names:
                _check_activation(record, name, len(batch))
            tensors = tuple(self.reference_tensors(record, name) for name in self.names)
            return tensors if self.rows is None else _rows(tensors, self.rows)


def resized(batch: Tensor, x: Tensor) -> Tensor:
    """Pictures (M, C, H, W), resized to the height and width of x. Inputs that are not images stay unchanged."""
    if batch.ndim != 4 or x.ndim != 4 or batch.shape[2:] == x.shape[2:]:
        return batch
    return F.interpolate(batch, x.shape[2:], mode="bilinear", antialias=True)


def weights_of(mask: Any, maps: Tensor, key: str, shape: tuple[int, int] | None = None) -> Tensor | None:
    """(h, w): the mean of a mask of weights (H, W) over the area of each position of maps (N, C, h, w).

    If `maps` belong to a tile, `shape` is the height and width of the map of the whole picture.
    """
    if mask is None:
        return None
    shape = (maps.shape[2], maps.shape[3]) if shape is None else shape
    if shape == (1, 1):
        raise NotApplicable(f"layer {key!r} has a single position, so a mask has no effect; choose a layer with maps.")
    weights = torch.as_tensor(mask)
    if weights.ndim != 2:
        raise NetLensError(f"a mask must be (H, W), not {tuple(weights.shape)}.")
    if weights.is_complex() or not torch.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise NetLensError(
            "a mask must hold True and False, or finite weights of at least 0; at least one must be above 0."
        )
    return F.adaptive_avg_pool2d(weights.to(maps)[None, None], shape)[0, 0]


def check_alive(values: Tensor, record: Record, name: str) -> None:
    """Raise if all values of a reference are 0, because a distance cannot be divided by their size."""
    if not (values != 0).flatten(1).any(1).all():
        raise NotApplicable(
            f"layer {name!r} of {record.flat.name} is all 0 on the picture, so distances cannot be normalized; "
            "choose another layer, or normalized=False."
        )


def _check_activation(record: Record, name: str, pictures: int) -> None:
    value = record.raw(name)
    if not isinstance(value, Tensor) or len(value) != pictures:
        kind = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise NotApplicable(
            f"layer {name!r} of {record.flat.name} has an activation of {kind} for {pictures} picture(s), which has no "
            "row for each picture; choose a layer outside of windows and boxes."
        )
    if not all_finite(value):
        raise NonFiniteError(
            f"layer {name!r} of {record.flat.name} holds NaN or Inf on picture {first_bad(value, pictures)} of the "
            "objective."
        )


def _batch(image: Any, flat: FlatModel, x: Tensor | None) -> Tensor:
    """The references as a batch, with as many channels as the input x, or, if x is None, as the preprocessing."""
    is_preprocessed = isinstance(image, Tensor) and image.is_floating_point()
    if is_preprocessed and image.ndim == 2:
        batch = image  # the input of a network that takes vectors
    else:
        channels = x.shape[1] if x is not None and x.ndim == 4 else None
        batch = as_batch(image, None if is_preprocessed else flat.adapter.preprocessing, channels)
    # a copy: the layer "input" stores the picture itself, and the caller may change it later
    return fitted(flat, batch, copy=True)


def _rows(tensors_by_layer: Sequence[Sequence[Tensor]], rows: Sequence[int]) -> tuple[tuple[Tensor, ...], ...]:
    """The tensors of these samples. A single reference belongs to all samples."""
    return tuple(
        tuple(tensor[list(rows)] if len(tensor) > 1 else tensor for tensor in tensors) for tensors in tensors_by_layer
    )
