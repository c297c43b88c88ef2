"""Occlusion: how the objective falls when a window slides over the image."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._positions import positions_of
from netlens.attribution._suffix import Suffix
from netlens.attribution._windows import Windows
from netlens.attribution.baseline import BASELINES, Baseline, baseline_like
from netlens.attribution.method import Method, register
from netlens.errors import NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class Occlusion(Method):
    """How far the objective falls when a window of the baseline covers a pixel.

    `values` are the mean of f(x) - f(x with a covered window) over the windows that cover a pixel. They have the shape
    of `wrt` and the unit of the objective f. A window covers all channels, so all channels of a pixel have equal
    values. On a sequence, a window covers consecutive tokens or features. A pixel that no window covers has the value
    0.

    `window` and `stride` count pixels of `wrt`. Each is one number, (height, width), or one number for each dimension
    of a signal, volume or clip. The border crops a window that reaches past it. If one window covers everything, all
    values are equal, and a warning says so.

    On maps of images, only what a window can change is computed again, exactly. The diagnostic `macs` (N,) counts the
    multiply-accumulates of convolutions and linear layers that were computed, and `macs_saved` (N,) how many more full
    runs would have taken.

    Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901
    """

    window: int | Sequence[int] = option(
        32, least=1, help="Size of the window in pixels: one side, height and width, or one for each dimension."
    )
    stride: int | Sequence[int] = option(16, least=1, help="Distance from one window to the next, in pixels.")
    baselines: Baseline = option(0.0, help=BASELINES)
    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        suffix = Suffix.of(flat, x, objective, wrt, many=True)
        activation, n = suffix.activation, len(x)
        dims = positions_of(flat, wrt, activation)
        windows = [
            _index(activation, dims, window) for window in self._windows([activation.shape[dim] for dim in dims])
        ]
        if len(windows) == 1:
            sides = " x ".join(str(activation.shape[dim]) for dim in dims)
            warnings.warn(
                f"Occlusion: one window covers all of {wrt!r} ({sides}), so all values of a sample are equal; give a "
                f"smaller window than {self.window} and a smaller stride than {self.stride}.",
                NetLensWarning,
                stacklevel=2,
            )
        # the largest windows come first, because they determine the size of chunks
        windows.sort(key=lambda window: [part.start - part.stop for part in window if part.stop is not None])
        baseline = baseline_like(flat, wrt, activation, self.baselines)
        total, cover = torch.zeros_like(activation), torch.zeros_like(activation[0])
        partial = Windows.of(suffix) if dims == (2, 3) else None  # other layouts run as a whole
        before = suffix.values(activation) if partial is None else activation.new_zeros(n)

        def work(first: int, last: int) -> list[tuple[int, tuple[slice, ...], Tensor]]:
            falls = []
            for sample, jobs in groupby(range(first, last), lambda job: job // len(windows)):
                covered = [windows[job % len(windows)] for job in jobs]
                whole = before[sample] if partial is None else partial.unchanged(sample)
                falls += [(sample, where, whole - value) for where, value in play(sample, covered)]
            return falls

        def play(sample: int, covered: list[tuple[slice, ...]]) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
            if partial is None:
                variants = activation[[sample] * len(covered)]
                for row, where in enumerate(covered):
                    variants[row][where] = baseline[sample][where]
                yield from zip(covered, suffix.value([sample] * len(covered), variants), strict=True)
                return
            for _, windows_of_one_shape in groupby(covered, lambda where: baseline[sample][where].shape):
                group = list(windows_of_one_shape)
                new = torch.stack([baseline[sample][where] for where in group])
                places = [(where[1], where[2]) for where in group]
                yield from zip(group, partial.value(sample, places, new), strict=True)

        for falls in in_chunks(len(windows) * n, work):
            for sample, where, fall in falls:
                total[sample][where] += fall
        for where in windows:
            cover[where] += 1
        # a stride above the window leaves gaps; nothing was measured there, so the value is 0
        return total.div_(cover.clamp(min=1)), {} if partial is None else partial.diagnostics

    def _windows(self, sizes: list[int]) -> list[tuple[slice, ...]]:
        """All windows, as slices along the sliding dimensions."""
        window, stride = (_pair(self.window, len(sizes), "window"), _pair(self.stride, len(sizes), "stride"))
        along = []
        for size, extent, step in zip(sizes, window, stride, strict=True):
            # the windows reach the border, but with a stride above the window, none may begin past the border
            count = min(1 + max(0, math.ceil((size - extent) / step)), math.ceil(size / step))
            along.append([slice(i * step, min(i * step + extent, size)) for i in range(count)])
        return list(product(*along))


def _index(activation: Tensor, dims: tuple[int, ...], window: tuple[slice, ...]) -> tuple[slice, ...]:
    """The window in one sample of `activation`."""
    index = [slice(None)] * (activation.ndim - 1)
    for dim, part in zip(dims, window, strict=True):
        index[dim - 1] = part
    return tuple(index)


def _pair(value: int | Sequence[int], n: int, name: str) -> tuple[int, ...]:
    pair = tuple(value) if isinstance(value, Sequence) else (value,) * n
    if len(pair) != n:
        raise NetLensError(f"Occlusion: {name} is {value!r}, but must be a whole number of at least 1, or {n} of them.")
    return pair
