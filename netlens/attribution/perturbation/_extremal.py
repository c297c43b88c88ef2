"""Extremal perturbations: the mask of a given area that changes the objective most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._scale_space import ScaleSpace
from netlens.attribution.baseline import Baseline
from netlens.attribution.method import Method, register
from netlens.attribution.perturbation._best import Best
from netlens.attribution.perturbation._climb import Climb
from netlens.attribution.perturbation._masked import Masked
from netlens.attribution.perturbation._smooth_mask import SmoothMask
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.running import differentiating
from netlens.objectives import Objective
from netlens.options import option

Variant = Literal["preserve", "delete", "dual"]
_LEVELS = 8  # levels of blur; a mask interpolates between them
_CENTERS = 9  # the largest number of disc centers along each side


@register
@dataclass(frozen=True, eq=False)
class ExtremalPerturbation(Method):
    """The mask of a given area that keeps the objective highest while everything else is blurred.

    `values` are masks in [0, 1], the same in all channels. With several `areas`, which are shares of the image in
    (0, 1), they are the mean of one mask per area. The variant "preserve" shows what the mask covers. "delete" blurs
    what it covers, so that the objective falls lowest. "dual" does both, and each counts half.

    Where the mask is 0, the blur has the standard deviation `blur`. With `baselines`, hidden positions fade to these
    instead. Masks are smooth over `sigma` and consist of `grid_size` cells along the longer side. Both widths are
    shares of the longer side.

    Each cell has a score. The cells with the highest scores form the mask, and the area sets their number. Ascent with
    momentum moves the score of each cell by what a bump there would add to f, by at most `learning_rate` in a step. It
    starts from the best disc of that area, among discs all over the image. It restarts several times from the best
    mask so far, and returns the best mask, so more steps never give a worse one. `diagnostics` hold the area and the
    objective of each mask, (N, areas).

    The paper differs: it moves the mask itself, and a penalty draws the mask to its area. Its last step is often worse
    than the best disc.

    Fong et al. 2019, https://arxiv.org/abs/1910.08485
    """

    areas: float | Sequence[float] = option(0.1, above=0, below=1, help="Shares of the image, one mask for each.")
    variant: Variant = option("preserve", help="Whether a mask shows what it covers, blurs it, or both.")
    n_steps: int = option(400, least=1, help="Steps of the ascent.")
    grid_size: int = option(32, least=1, help="Cells along the longer side.")
    sigma: float = option(21 / 224, above=0, help="Smoothness of a mask, as a share of the longer side.")
    blur: float = option(20 / 224, above=0, help="Deviation of the strongest blur, as a share of the longer side.")
    baselines: Baseline | None = option(None, help="What stands for absence instead of a blur.")
    learning_rate: float = option(0.03, above=0, help="The largest change of a score in one step.")
    reduction = "cam"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        areas = self._areas()
        masked = Masked.of(flat, x, objective, wrt, 0.0 if self.baselines is None else self.baselines)
        if len(masked.sizes) > 2:
            raise NotApplicable(
                f"ExtremalPerturbation makes masks of one or two dimensions, and {wrt!r} of {flat.name} has positions "
                f"{'x'.join(map(str, masked.sizes))}; take RISE or Occlusion."
            )
        n = len(x)

        def work(first: int, last: int) -> tuple[Tensor, Tensor]:
            rows = [job % n for job in range(first, last)]
            goals = torch.tensor([areas[job // n] for job in range(first, last)], device=x.device, dtype=masked.dtype)
            return self._ascend(masked, rows, goals)

        masks, reached = (torch.cat(parts) for parts in zip(*in_chunks(len(areas) * n, work), strict=True))
        diagnostics = {"area": masks.flatten(1).mean(1), "objective": reached}
        by_sample = {name: numbers.view(len(areas), n).T for name, numbers in diagnostics.items()}
        return masked.filled(masks.unflatten(0, (-1, n)).mean(0)), by_sample

    def _ascend(self, masked: Masked, rows: list[int], areas: Tensor) -> tuple[Tensor, Tensor]:
        """The best masks (rows, *sizes) of these samples and areas, and the objective (rows,) under them."""
        levels = self._levels(masked, rows)
        smooth = SmoothMask.of(masked.sizes, self.grid_size, self.sigma, areas)
        # for each term: whether the mask hides its area (or shows it alone), and the weight of the objective
        dual = [(False, 0.5), (True, -0.5)]
        sides = {"preserve": [(False, 1.0)], "delete": [(True, -1.0)], "dual": dual}[self.variant]

        def shown(masks: Tensor, hides: bool) -> Tensor:
            return interpolated(levels, masked.spread(1 - masks if hides else masks))

        def reached(scores: Tensor) -> Tensor:
            masks = smooth.of_area(scores, areas)
            values = [sign * masked.suffix.value(rows, shown(masks, hides)).to(areas) for hides, sign in sides]
            return torch.stack(values).sum(0)

        def sloped(scores: Tensor) -> tuple[Tensor, Tensor]:
            """The weighted objective under the masks of these scores, and what a bump at each cell would add to it."""
            masks = smooth.of_area(scores, areas)
            total, slope = torch.zeros_like(areas), torch.zeros_like(masks)
            for hides, sign in sides:
                with differentiating():
                    point = masks.detach().requires_grad_()
                    end = shown(point, hides)
                    value, at_end = masked.suffix.slope(rows, end)
                    (gradient,) = torch.autograd.grad(end, point, sign * at_end)
                total, slope = total + sign * value.to(areas), slope + gradient
            return total, smooth.gain(slope)

        start, of_input = Best(), masked.suffix.wrt in masked.suffix.flat.inputs
        # without autocast, because rounding must not choose between equally good discs; layers are rounded already
        with torch.autocast(areas.device.type, enabled=False) if of_input else nullcontext():
            for scores in _discs(smooth.cells, areas):
                start.offer(reached(scores), scores)
        climb = Climb(start.candidate, self.learning_rate)
        for _ in range(self.n_steps):
            climb.step(*sloped(climb.point))
        masks = smooth.of_area(climb.best, areas)
        objective = masked.suffix.value(rows, shown(masks, self.variant == "delete"))
        return masks.reshape(-1, *masked.sizes), objective.to(areas)

    def _levels(self, masked: Masked, rows: list[int]) -> list[Tensor]:
        """The activations (rows, ...) in equal steps from unchanged to fully perturbed."""
        activation = masked.activation[rows]
        if self.baselines is not None:
            return [activation, masked.baseline[rows]]
        maps = _as_maps(activation, masked.dims)
        space = ScaleSpace(maps)
        longer = max(masked.sizes)
        samples = list(range(len(rows)))
        blurred = [
            space.blurred(samples, torch.full((len(rows),), self.blur * longer * level / (_LEVELS - 1)).to(maps))
            for level in range(1, _LEVELS)
        ]
        return [activation, *[_from_maps(maps, masked.dims, activation) for maps in blurred]]

    def _areas(self) -> tuple[float, ...]:
        areas = tuple(self.areas) if isinstance(self.areas, Sequence) else (self.areas,)
        if not areas:
            raise NetLensError("ExtremalPerturbation: areas names no part of the image; give at least one.")
        return areas


def _discs(sizes: tuple[int, int], areas: Tensor) -> Iterator[Tensor]:
    """Scores (rows, *sizes) that fall by 1 from the center of a disc to its border, for each center in a grid."""
    axes = [torch.arange(size, device=areas.device) + 0.5 for size in sizes]
    radius = (areas * (sizes[0] * sizes[1] / math.pi)).sqrt()
    for y, x in product(*[_spaced(size) for size in sizes]):
        distance = torch.hypot(axes[0][:, None] - y, axes[1] - x)
        yield -distance.to(areas) / radius[:, None, None]


def _spaced(size: int) -> list[float]:
    count = min(_CENTERS, size)
    return [(index + 0.5) * size / count for index in range(count)]


def interpolated(levels: Sequence[Tensor], shown: Tensor) -> Tensor:
    """The first level where `shown` is 1, the last where it is 0; elsewhere a linear mix of the two nearest levels."""
    position = (1 - shown) * (len(levels) - 1)
    # an integer position belongs to the interval above it (the last one, below it), so the slope exists everywhere
    below = position.detach().floor().clamp(0, len(levels) - 2)
    fraction = position - below
    weights = [(below == k) * (1 - fraction) + (below == k - 1) * fraction for k in range(len(levels))]
    return sum(weight.to(level) * level for weight, level in zip(weights, levels, strict=True))  # type: ignore[return-value]


def _as_maps(activation: Tensor, dims: Sequence[int]) -> Tensor:
    """Activations as maps (samples, channels, h, w). `dims` become h and w; if `dims` is one dimension, h is 1."""
    maps = activation.movedim(tuple(dims), tuple(range(-len(dims), 0)))
    return maps if len(dims) == 2 else maps.reshape(len(activation), -1, 1, maps.shape[-1])


def _from_maps(maps: Tensor, dims: Sequence[int], like: Tensor) -> Tensor:
    """The inverse of `_as_maps`, for activations of the shape of `like`."""
    ends = tuple(range(-len(dims), 0))
    return maps.reshape(like.movedim(tuple(dims), ends).shape).movedim(ends, tuple(dims))
