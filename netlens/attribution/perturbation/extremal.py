"""Extremal perturbations: the mask of a given area that does the most for the objective."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from netlens.attribution.method import Method, register
from netlens.attribution.path.scale_space import ScaleSpace
from netlens.attribution.perturbation.masked import Masked
from netlens.attribution.perturbation.smooth_mask import SmoothMask, area_penalty
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.flat.chunks import in_chunks
from netlens.flat.modes import differentiating
from netlens.heatmaps import choose
from netlens.objectives import Objective

Variant = Literal["preserve", "delete", "dual"]
_LEVELS = 8  # of blur, between which a mask interpolates
_MOMENTUM = 0.9
_ELSEWHERE = 0.75  # of cells outside the disc at the start, so that ascent can still choose others
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

    Gradient ascent with momentum on the share of f(x) - f(all perturbed) that is reached, less `penalty` times the mean
    square by which the sorted mask misses 0 and 1 of that area, a weight that grows from 0. It starts at the disc of
    about that area, among discs all over the image, that does the most. `diagnostics` give the area and the objective
    that each mask reaches, (N, areas).

    Fong et al. 2019, https://arxiv.org/abs/1910.08485; with f as a share, its options suit objectives of any scale.
    From a mask of 1, where the paper starts, ascent often ends at much less of the objective.
    """

    areas: float | Sequence[float] = 0.1
    variant: Variant = "preserve"
    n_steps: int = 400
    grid_size: int = 32
    sigma: float = 21 / 224
    blur: float = 20 / 224
    baselines: float | Tensor | None = None
    penalty: float = 300.0
    learning_rate: float = 0.0001
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
        clear, gone = (masked.suffix.value(rows, level).to(areas) for level in (levels[0], levels[-1]))
        scale = (clear - gone).abs()
        scale = scale.masked_fill(scale == 0, 1).view(-1, *[1] * (masked.at.ndim - 1))
        smooth = SmoothMask.of(masked.sizes, self.grid_size, self.sigma, areas)
        # whether the mask hides, and how the objective counts there: what is optimised is a share with every variant
        both = [(False, 0.5), (True, -0.5)]
        sides = {"preserve": [(False, 1.0)], "delete": [(True, -1.0)], "dual": both}[self.variant]

        def ends_of(masks: Tensor) -> list[Tensor]:
            return [_between(levels, masked.spread(1 - masks if hides else masks)) for hides, _ in sides]

        def goodness(cells: Tensor) -> Tensor:
            values = [masked.suffix.value(rows, end).to(areas) for end in ends_of(smooth(cells))]
            return sum(sign * value for value, (_, sign) in zip(values, sides, strict=True))  # type: ignore[return-value]

        cells = _best(goodness, _discs(smooth.cells, areas))
        speed = torch.zeros_like(cells)
        for step in range(self.n_steps):
            with differentiating():
                cells.requires_grad_()
                masks = smooth(cells)
                ends = ends_of(masks)
                slopes = [
                    sign * masked.suffix.gradient(rows, end) / scale for end, (_, sign) in zip(ends, sides, strict=True)
                ]
                missed = area_penalty(masks, areas)
                weight = torch.full_like(missed, -self.penalty * step / self.n_steps)
                (slope,) = torch.autograd.grad([*ends, missed], cells, [*slopes, weight])
            # the slope of one cell falls with their number, but its way from 1 to 0 does not
            speed = _MOMENTUM * speed + slope * cells[0].numel()
            cells = (cells.detach() + self.learning_rate * speed).clamp(0, 1)
        masks = smooth(cells)
        shown = _between(levels, masked.spread(1 - masks if self.variant == "delete" else masks))
        return masks.reshape(-1, *masked.sizes), masked.suffix.value(rows, shown).to(areas)

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
        if self.learning_rate <= 0 or self.penalty < 0:
            raise NetLensError("learning_rate must be above 0, and penalty at least 0.")
        return areas


def _discs(sizes: tuple[int, int], areas: Tensor) -> Iterator[Tensor]:
    """Cells (rows, *sizes) that are highest in a disc, for each of the places."""
    axes = [torch.arange(size, device=areas.device) + 0.5 for size in sizes]
    # bumps reach beyond their cells, so that half as many raise a mask of about the area
    counts = (areas * (sizes[0] * sizes[1] / 2)).round().clamp(min=1)
    for y, x in product(*[_spaced(size) for size in sizes]):
        distance = torch.hypot(axes[0][:, None] - y, axes[1] - x).flatten()
        nearest = distance.argsort(stable=True).argsort()  # at borders, too, discs are of this area
        yield ((nearest < counts[:, None]).to(areas) * (1 - _ELSEWHERE) + _ELSEWHERE).unflatten(1, sizes)


def _spaced(size: int) -> list[float]:
    count = min(_PLACES, size)
    return [(place + 0.5) * size / count for place in range(count)]


def _best(goodness: Callable[[Tensor], Tensor], candidates: Iterable[Tensor]) -> Tensor:
    """The candidate (rows, ...) that does best, for each row by itself; the first of equals."""
    best, chosen = None, None
    for cells in candidates:
        found = goodness(cells)
        if best is None or chosen is None:
            best, chosen = found, cells
            continue
        better = found > best
        best = torch.where(better, found, best)
        chosen = torch.where(better.view(-1, *[1] * (cells.ndim - 1)), cells, chosen)
    assert chosen is not None
    return chosen


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
