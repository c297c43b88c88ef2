"""The score of a class over a region of the image, for segmentation networks, which return maps of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.heads import head_of
from netlens.flat.keys import SCORES, part
from netlens.objectives._base import Objective, PerSample, Record
from netlens.objectives.classes import check_known, classes_of, head_named, in_head, plain, target_of

if TYPE_CHECKING:
    from netlens.objectives.classes import Target


@dataclass(frozen=True, repr=False, eq=False)
class Region(PerSample):
    """The score of a class before the softmax, averaged over a region of the image; see `region`."""

    target: Target
    where: Any = None
    weights: Tensor | None = field(
        default=None, kw_only=True
    )  # (N, h, w), the weight of each position; None before the objective is settled

    def __post_init__(self) -> None:
        try:
            _dimensions(self.where)
        except (TypeError, ValueError, RuntimeError):
            raise NetLensError(
                f"where must be a mask of numbers (H, W) or a box (x0, y0, x1, y1), not {self.where!r}."
            ) from None

    @property
    def layers(self) -> tuple[str, ...]:
        # boxes and masks are in pixels of the input, so the size of the input is needed
        scores = part(SCORES, head_named(self.target))
        return (scores,) if self.weights is not None or self.where is None else (scores, "input")

    def __call__(self, record: Record) -> Tensor:
        scores = self._scores(record)
        weights = self.weights if self.weights is not None else self._weights(record, scores)
        weights = weights.to(scores)
        if weights.shape != scores.shape:
            raise NetLensError(
                f"{self} was settled on maps {tuple(weights.shape)}, so it cannot be computed for maps "
                f"{tuple(scores.shape)}."
            )
        return (scores * weights).flatten(1).sum(1) / weights.flatten(1).sum(1)

    def take(self, samples: Sequence[int]) -> Objective:
        rows = list(samples)
        where = self.where
        if _dimensions(where) == 3:
            where = torch.as_tensor(where)[rows]
        weights = self.weights[rows] if self.weights is not None else None
        return replace(self, target=target_of(self.target, rows), where=where, weights=weights)

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...]:
        return classes_of(in_head(self.target, flat)[1], flat, n)

    def named_targets(self, flat: FlatModel, n: int) -> tuple[tuple[int, ...] | None, tuple[str, ...] | None]:
        targets, names = super().named_targets(flat, n)
        return targets, names if in_head(self.target, flat)[0] is None else None  # the names are those of another head

    def settled(self, flat: FlatModel, x: Tensor) -> Objective:
        if self.weights is not None:
            return self
        # autograd cannot use tensors that are made under inference_mode
        with torch.inference_mode(False), torch.no_grad():
            x = x.clone() if x.is_inference() else x
            record = Record(flat, flat.record(x, layers=self.layers))
            return replace(self, weights=self._weights(record, self._scores(record)))

    def _scores(self, record: Record) -> Tensor:
        """(N, h, w): the map of the class."""
        head, target = in_head(self.target, record.flat)
        maps = _maps(record, head)
        classes = classes_of(target, record.flat, len(maps))
        check_known(classes, record.flat, maps.shape[1])
        return maps[range(len(maps)), list(classes)]

    def _weights(self, record: Record, scores: Tensor) -> Tensor:
        """(N, h, w): the weight of each position. In each sample, at least one weight is above 0."""
        n, size = len(scores), (scores.shape[1], scores.shape[2])
        if self.where is None:
            weights = self._predicted(record)
        elif scores.ndim > 3:
            raise NotApplicable(f"{record.flat.name} returns volumes of scores; leave out the region {self}.")
        else:
            image = tuple(record[record.flat.inputs[0]].shape[-2:])
            if _dimensions(self.where) == 1:
                mask = _box_mask(self.where, image).expand(1, *image)
            else:
                mask = _mask(self.where, n, image, size)
            mask = mask.to(scores)
            if mask.shape[1:] != size:
                # for each position of the map, the mean of the mask over its area
                mask = F.adaptive_avg_pool2d(mask[:, None], size)[:, 0]
            weights = mask.expand(n, *size)
        empty = (weights.flatten(1).sum(1) == 0).nonzero().flatten().tolist()
        if empty:
            sample = f" in sample {empty[0]}" if n > 1 else ""
            if self.where is not None:
                raise NetLensError(f"the region of {self} is empty{sample}; mark at least one position.")
            raise NotApplicable(
                f"{record.flat.name} predicts class {self.targets(record.flat, n)[empty[0]]} nowhere{sample}; "
                "say where: region(class, mask) or region(class, (x0, y0, x1, y1))."
            )
        return weights

    def _predicted(self, record: Record) -> Tensor:
        """(N, h, w): 1 where the network predicts the class, 0 elsewhere."""
        head, _ = in_head(self.target, record.flat)
        maps = _maps(record, head)
        finite = torch.isfinite(maps).flatten(1).all(1)
        if not finite.all():
            bad = int((~finite).nonzero()[0])
            raise NonFiniteError(f"the scores of {record.flat.name} hold NaN or Inf for sample {bad}.")
        classes = list(self.targets(record.flat, len(maps)))
        return head_of(record.flat, head).predicted(maps)[range(len(maps)), classes].to(maps.dtype)

    def __repr__(self) -> str:
        where = self.where
        if where is None:
            return f"region({plain(self.target)!r})"
        if _dimensions(where) == 1:
            return f"region({plain(self.target)!r}, ({', '.join(f'{float(edge):g}' for edge in where)}))"
        return f"region({plain(self.target)!r}, mask {'x'.join(map(str, torch.as_tensor(where).shape))})"


def region(target: Target, where: Any = None) -> Objective:
    """The score of a class before the softmax, averaged over a region of the image: Σ w · score / Σ w.

    Args:
        target: A class by index or name, for all samples; or a list or tensor of classes, one per sample.
        where: The region.

            - None: the positions at which the network predicts the class.
            - A box (x0, y0, x1, y1) in pixels of the input.
            - A mask (H, W), or (N, H, W) with one per sample, of the size of the input or of the network's map. Its
              values are the weights w, at least 0. If the map is smaller than the mask, the mask is averaged.

    Raises:
        NotApplicable: When the objective is computed: the network returns no maps, or predicts the class nowhere.
        NetLensError: When the objective is computed: the region is empty, or the mask has another size.

    Example:
        >>> region("dog", (10, 20, 90, 80))
        region('dog', (10, 20, 90, 80))
    """
    return Region(target, where)


def _maps(record: Record, head: str | None) -> Tensor:
    """(N, classes, h, w): the maps of scores. Raises `NotApplicable` if the network returns something else."""
    maps = record.scores(head)
    if maps.ndim < 4:
        raise NotApplicable(
            f"{record.flat.name} returns scores {tuple(maps.shape)}, not maps (N, classes, h, w), so a class has no "
            "region; use logit(class), or box(class, ...) for a detector."
        )
    return maps


def _dimensions(where: Any) -> int:
    """The number of dimensions: 0 for None, 1 for a box, 2 or 3 for masks."""
    return 0 if where is None else torch.as_tensor(where).ndim


def _mask(where: Any, n: int, image: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """(1 or N, H, W): the mask, of the size of the image or of the map."""
    mask = torch.as_tensor(where)
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or len(mask) not in (1, n) or tuple(mask.shape[1:]) not in (image, size):
        sizes = " or ".join(dict.fromkeys((_size_text(image), _size_text(size))))
        raise NetLensError(
            f"the mask is {tuple(torch.as_tensor(where).shape)}; give one of height and width {sizes}, "
            f"or one for each of {n} sample(s)."
        )
    if mask.is_complex() or not torch.isfinite(mask).all() or (mask < 0).any():
        raise NetLensError("the mask holds NaN, Inf or negative weights; give True and False, or weights from 0.")
    return mask


def _box_mask(box: Any, image: tuple[int, ...]) -> Tensor:
    """(H, W): the share of each pixel that the box covers."""
    edges = [float(edge) for edge in box]
    if len(edges) != 4 or not (edges[0] < edges[2] and edges[1] < edges[3]):
        raise NetLensError(f"a box is (x0, y0, x1, y1) with x0 < x1 and y0 < y1, not {tuple(edges)}.")
    x0, y0, x1, y1 = edges
    return _cover(y0, y1, image[0])[:, None] * _cover(x0, x1, image[1])[None, :]


def _cover(low: float, high: float, count: int) -> Tensor:
    """(count,): the share of each of `count` cells of length 1 that the interval covers."""
    cells = torch.arange(count, dtype=torch.float64)
    return ((cells + 1).clamp(max=high) - cells.clamp(min=low)).clamp(min=0)


def _size_text(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"
