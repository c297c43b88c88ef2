"""Extremal perturbations: the mask of a given area that does the most for the objective."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from netlens.attribution.method import Method, register
from netlens.attribution.path.scale_space import ScaleSpace
from netlens.attribution.perturbation.best import Best
from netlens.attribution.perturbation.climb import Climb
from netlens.attribution.perturbation.masked import Masked
from netlens.attribution.perturbation.smooth_mask import SmoothMask
from netlens.errors import NetLensError
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.flat.modes import differentiating
from netlens.heatmaps import choose
from netlens.objectives import Objective

Variant = Literal["preserve", "delete", "dual"]
_LEVELS = 8  # of blur, between which a mask interpolates
_PLACES = 9  # along each side, at which discs are tried


@register
@dataclass(frozen=True, eq=False)
class ExtremalPerturbation(Method):
    """The mask of a given area that keeps the objective highest when all else is blurred; the mean over `areas`.

    `values` are masks in [0, 1], the same in all channels. `variant`: "preserve" shows what the mask covers, "delete"
    blurs it so that the objective falls lowest, "dual" does both, each by half. `areas` are parts of the image in
    (0, 1), one mask for each. The blur grows to a standard deviation of `blur`, where the mask is 0; with `baselines`,
    what is not shown fades to these instead. Masks are smooth over `sigma`, from `grid_size` cells along the longer
    side. Both widths are parts of the longer side.

    Each cell has a score, and those of the highest scores make the mask, as many as the area asks for. Ascent with
    momentum moves the scores along what a bump at each cell would add to f, by up to `learning_rate` in a step. It
    starts at the disc of that area, among discs all over the image, that does the most, and sets out again and again
    from the best mask so far, which is what it returns: more steps never do worse. `diagnostics` give the area and the
    objective that each mask reaches, (N, areas).

    Fong et al. 2019, https://arxiv.org/abs/1910.08485, move the mask itself and draw it to its area by a penalty, whose
    last step is often worse than that disc.
    """

    areas: float | Sequence[float] = 0.1
    variant: Variant = "preserve"
    n_steps: int = 400
    grid_size: int = 32
    sigma: float = 21 / 224
    blur: float = 20 / 224
    baselines: float | Tensor | None = None
    learning_rate: float = 0.03
    chunk: int | None = None
    reduction = "cam"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        areas = self._checked()
        masked = Masked.of(flat, x, objective, wrt, 0.0 if self.baselines is None else self.baselines)
        n = len(x)

        def work(first: int, last: int) -> tuple[Tensor, Tensor]:
            rows = [job % n for job in range(first, last)]
            goals = torch.tensor([areas[job // n] for job in range(first, last)], device=x.device, dtype=masked.dtype)
            return self._ascend(masked, rows, goals)

        masks, reached = (torch.cat(parts) for parts in zip(*in_chunks(len(areas) * n, self.chunk, work), strict=True))
        diagnostics = {"area": masks.flatten(1).mean(1), "objective": reached}
        each = {name: found.view(len(areas), n).T for name, found in diagnostics.items()}
        return masked.filled(masks.unflatten(0, (-1, n)).mean(0)), each

    def _ascend(self, masked: Masked, rows: list[int], areas: Tensor) -> tuple[Tensor, Tensor]:
        """The best masks (rows, *sizes) of these samples and areas, and the objective under them."""
        levels = self._levels(masked, rows)
        smooth = SmoothMask.of(masked.sizes, self.grid_size, self.sigma, areas)
        # whether the mask hides, and how the objective counts there
        both = [(False, 0.5), (True, -0.5)]
        sides = {"preserve": [(False, 1.0)], "delete": [(True, -1.0)], "dual": both}[self.variant]

        def shown(masks: Tensor, hides: bool) -> Tensor:
            return _between(levels, masked.spread(1 - masks if hides else masks))

        def reached(scores: Tensor) -> Tensor:
            masks = smooth.of_area(scores, areas)
            values = [sign * masked.suffix.value(rows, shown(masks, hides)).to(areas) for hides, sign in sides]
            return torch.stack(values).sum(0)

        def sloped(scores: Tensor) -> tuple[Tensor, Tensor]:
            """What is reached, and what bumps at each of the cells would add to it."""
            masks = smooth.of_area(scores, areas)
            total, slope = torch.zeros_like(areas), torch.zeros_like(masks)
            for hides, sign in sides:
                with differentiating():
                    point = masks.detach().requires_grad_()
                    end = shown(point, hides)
                    value, at_end = masked.suffix.slope(rows, end)
                    (found,) = torch.autograd.grad(end, point, sign * at_end)
                total, slope = total + sign * value.to(areas), slope + found
            return total, smooth.gain(slope)

        start, of_input = Best(), masked.suffix.wrt in masked.suffix.flat.inputs
        # of discs that do nearly as well, rounding would choose any; under autocast, layers are rounded already
        with torch.autocast(areas.device.type, enabled=False) if of_input else nullcontext():
            for scores in _discs(smooth.cells, areas):
                start.offer(reached(scores), scores)
        climb = Climb(start.candidate, self.learning_rate)
        for _ in range(self.n_steps):
            climb.step(*sloped(climb.at))
        masks = smooth.of_area(climb.best, areas)
        objective = masked.suffix.value(rows, shown(masks, self.variant == "delete"))
        return masks.reshape(-1, *masked.sizes), objective.to(areas)

    def _levels(self, masked: Masked, rows: list[int]) -> list[Tensor]:
        """The activations (rows, ...) from untouched to wholly perturbed, in equal steps."""
        at = masked.at[rows]
        if self.baselines is not None:
            return [at, masked.baseline[rows]]
        maps = _as_maps(at, masked.dims)
        space = ScaleSpace(maps)
        longer = max(masked.sizes)
        each = list(range(len(rows)))
        blurred = [
            space.blurred(each, torch.full((len(rows),), self.blur * longer * level / (_LEVELS - 1)).to(maps))
            for level in range(1, _LEVELS)
        ]
        return [at, *[_from_maps(maps, masked.dims, at) for maps in blurred]]

    def _checked(self) -> tuple[float, ...]:
        choose("variant", self.variant, Variant)
        areas = tuple(self.areas) if isinstance(self.areas, Sequence) else (self.areas,)
        if not areas or any(not 0 < area < 1 for area in areas):
            raise NetLensError(f"areas are parts of the image between 0 and 1, one or several, not {self.areas!r}.")
        if self.n_steps < 1 or self.grid_size < 1 or self.sigma <= 0 or self.blur <= 0:
            raise NetLensError("n_steps and grid_size must be at least 1, and sigma and blur above 0.")
        if self.learning_rate <= 0:
            raise NetLensError(f"learning_rate must be above 0, not {self.learning_rate}.")
        return areas


def _discs(sizes: tuple[int, int], areas: Tensor) -> Iterator[Tensor]:
    """Scores (rows, *sizes) that fall from the middle of a disc, by 1 up to its border, for each of the places."""
    axes = [torch.arange(size, device=areas.device) + 0.5 for size in sizes]
    radius = (areas * (sizes[0] * sizes[1] / math.pi)).sqrt()
    for y, x in product(*[_spaced(size) for size in sizes]):
        distance = torch.hypot(axes[0][:, None] - y, axes[1] - x)
        yield -distance.to(areas) / radius[:, None, None]


def _spaced(size: int) -> list[float]:
    count = min(_PLACES, size)
    return [(place + 0.5) * size / count for place in range(count)]


def _between(levels: Sequence[Tensor], shown: Tensor) -> Tensor:
    """The first of the levels where `shown` is 1, the last where it is 0, and linearly between the two next else."""
    place = (1 - shown) * (len(levels) - 1)
    # whole numbers belong to the interval below them at the end alone, so that there is a slope everywhere
    below = place.detach().floor().clamp(0, len(levels) - 2)
    part = place - below
    weights = [(below == k) * (1 - part) + (below == k - 1) * part for k in range(len(levels))]
    return sum(weight.to(level) * level for weight, level in zip(weights, levels, strict=True))  # type: ignore[return-value]


def _as_maps(at: Tensor, dims: Sequence[int]) -> Tensor:
    """(rows, channels, h, w), with sequences as maps of one row."""
    maps = at.movedim(tuple(dims), tuple(range(-len(dims), 0)))
    return maps if len(dims) == 2 else maps.reshape(len(at), -1, 1, maps.shape[-1])


def _from_maps(maps: Tensor, dims: Sequence[int], like: Tensor) -> Tensor:
    """The other way round, to the shape of `like`."""
    ends = tuple(range(-len(dims), 0))
    return maps.reshape(like.movedim(tuple(dims), ends).shape).movedim(ends, tuple(dims))
