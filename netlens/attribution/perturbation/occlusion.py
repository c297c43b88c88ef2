"""Occlusion: how the objective falls when a window slides over the image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from numbers import Integral

import torch
from torch import Tensor

from netlens.attribution.baseline import baseline_like
from netlens.attribution.method import Method, register
from netlens.attribution.perturbation.masks import spatial_dims
from netlens.attribution.suffix import Suffix
from netlens.attribution.windows import Windows
from netlens.errors import NetLensError
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.objectives import Objective


@register
@dataclass(frozen=True, eq=False)
class Occlusion(Method):
    """f(x) - f(x with a window covered by the baseline), averaged over the windows that cover a pixel.

    window, stride: in pixels of `wrt`, one number or (height, width); windows at the border are cropped, as far as one
    would reach past it. All channels are covered at once, so the values of a pixel's channels are equal. A sequence of
    tokens or features is covered by windows of consecutive ones.

    On maps, only what a window can have changed is computed again, exactly. The diagnostics `macs` and `macs_saved`
    (N,) count the multiply-accumulates of convolutions and linear layers that were done, and those that full runs
    would have taken beyond.

    Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901
    """

    window: int | Sequence[int] = 32
    stride: int | Sequence[int] = 16
    baselines: float | Tensor = 0.0
    chunk: int | None = None
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        suffix = Suffix.of(flat, x, objective, wrt, many=True)
        at, n = suffix.at, len(x)
        dims = spatial_dims(flat, wrt, at)
        windows = [_index(at, dims, window) for window in self._windows([at.shape[dim] for dim in dims])]
        # the largest first, by which chunks are chosen
        windows.sort(key=lambda window: [part.start - part.stop for part in window if part.stop is not None])
        baseline = baseline_like(at, self.baselines)
        total, cover = torch.zeros_like(at), torch.zeros_like(at[0])
        partial = Windows.of(suffix) if dims == (2, 3) else None
        before = suffix.values(at) if partial is None else at.new_zeros(n)

        def work(first: int, last: int) -> list[tuple[int, tuple[slice, ...], Tensor]]:
            falls = []
            for sample, own in groupby(range(first, last), lambda job: job // len(windows)):
                covered = [windows[job % len(windows)] for job in own]
                whole = before[sample] if partial is None else partial.unchanged(sample)
                falls += [(sample, where, whole - value) for where, value in play(sample, covered)]
            return falls

        def play(sample: int, covered: list[tuple[slice, ...]]) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
            if partial is None:
                variants = at[[sample] * len(covered)]
                for row, where in enumerate(covered):
                    variants[row][where] = baseline[sample][where]
                yield from zip(covered, suffix.value([sample] * len(covered), variants), strict=True)
                return
            for _, alike in groupby(covered, lambda where: baseline[sample][where].shape):
                group = list(alike)
                new = torch.stack([baseline[sample][where] for where in group])
                places = [(where[1], where[2]) for where in group]
                yield from zip(group, partial.value(sample, places, new), strict=True)

        for falls in in_chunks(len(windows) * n, self.chunk, work):
            for sample, where, fall in falls:
                total[sample][where] += fall
        for where in windows:
            cover[where] += 1
        # a stride above the window leaves gaps, where nothing was measured: 0
        return total.div_(cover.clamp(min=1)), {} if partial is None else partial.diagnostics

    def _windows(self, sizes: list[int]) -> list[tuple[slice, ...]]:
        """All windows, as slices along the sliding dimensions."""
        window, stride = (_pair(self.window, len(sizes), "window"), _pair(self.stride, len(sizes), "stride"))
        along = []
        for size, extent, step in zip(sizes, window, stride, strict=True):
            # as many as reach the border, but with a stride above the window, none that would begin past it
            count = min(1 + max(0, math.ceil((size - extent) / step)), math.ceil(size / step))
            along.append([slice(i * step, min(i * step + extent, size)) for i in range(count)])
        return list(product(*along))


def _index(at: Tensor, dims: tuple[int, ...], window: tuple[slice, ...]) -> tuple[slice, ...]:
    """The window in one sample of `at`."""
    index = [slice(None)] * (at.ndim - 1)
    for dim, part in zip(dims, window, strict=True):
        index[dim - 1] = part
    return tuple(index)


def _pair(value: int | Sequence[int], n: int, name: str) -> tuple[int, ...]:
    pair = tuple(value) if isinstance(value, Sequence) else (value,) * n
    if len(pair) != n or any(not isinstance(side, Integral) or side < 1 for side in pair):
        raise NetLensError(f"{name} must be a positive number, or {n} of them, not {value!r}.")
    return pair
