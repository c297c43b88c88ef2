"""Baselines: what stands for absence, as a number, as a tensor, or by a name."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from netlens.attribution._positions import has_maps, positions_of
from netlens.attribution._scale_space import ScaleSpace
from netlens.attribution.batch import are_copies
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.bundle import explained_input, input_of, is_input, layout_at, with_input

Baseline = float | Tensor | Literal["black", "white", "uniform", "mean", "blur"]
"""One number everywhere; or a tensor that broadcasts to what is explained; or a name.

Colors are those of the picture before its preprocessing, so they exist only for the input:

- "black", "white": every pixel has this color.
- "uniform": every pixel has a random color. Each channel is drawn from [0, 1] with seed 0, alike for all samples.

Other names are statistics of what is explained (signals, pictures, volumes or maps), so each sample has its own
baseline:

- "mean": each channel has its mean over the sample everywhere.
- "blur": the sample under a Gaussian blur, whose deviation is a tenth of the shorter side. The frames of a clip that a
  network reads one by one are blurred each alone.

The number 0 is the mean color of the training data, if the preprocessing subtracts it.

Sturmfels et al. 2020, https://distill.pub/2020/attribution-baselines/
"""

BASELINES = "What stands for absence: a number, a name such as blur, or a tensor that broadcasts to what is explained."
"""The help of the option `baselines`."""

BLUR = 0.1  # the deviation of the blur, as a share of the shorter side


def baseline_like(flat: FlatModel, wrt: str, at: Tensor, baseline: Baseline) -> Tensor:
    """A baseline of the shape of `at`, the activation at the key `wrt`. Callers only read it.

    Raises:
        NetLensError: A tensor does not broadcast to `at`.
        NotApplicable: A named baseline has no meaning there.
    """
    if isinstance(baseline, str):
        # copies of one sample share one baseline
        rows = at[:1] if are_copies(at) else at
        return _named(flat, wrt, rows, baseline).expand_as(at)
    if not isinstance(baseline, Tensor):
        return at.new_full((), float(baseline)).expand_as(at)
    try:
        # each sample lies in memory without gaps, because a network may take views of it; samples may share memory
        row = baseline.to(at).expand(torch.broadcast_shapes(baseline.shape, at[:1].shape)).contiguous()
        return row.expand_as(at)
    except RuntimeError:
        raise NetLensError(
            f"a baseline of shape {tuple(baseline.shape)} does not broadcast to the input's {tuple(at.shape)}."
        ) from None


def _named(flat: FlatModel, wrt: str, at: Tensor, name: str) -> Tensor:
    """The baseline of this name: in the shape of `at`, or as one row for all samples."""
    if not has_maps(flat, wrt, at):
        raise NotApplicable(
            f"the baseline {name!r} needs images or maps (N, C, h, w); {wrt!r} gives {tuple(at.shape)}. "
            "Give a number or a tensor."
        )
    dims = positions_of(flat, wrt, at)
    if name == "mean":
        return at.mean(dims, keepdim=True).expand_as(at).contiguous()
    if name == "blur":
        sides = blurred_dims(flat, wrt, at)
        deviation = BLUR * min(at.shape[side] for side in sides)
        return ScaleSpace(at, sides).blurred(list(range(len(at))), at.new_full((len(at),), deviation))
    return _of_color(flat, wrt, at, name)


def blurred_dims(flat: FlatModel, wrt: str, at: Tensor) -> tuple[int, ...]:
    """The dimensions over which a blur of the activation `at` goes: its positions, but not the time of frames."""
    dims = positions_of(flat, wrt, at)
    time = layout_at(flat, wrt, at).time if is_input(flat, wrt) else None
    return tuple(dim for dim in dims if dim != time) if len(dims) > 1 else dims


def _of_color(flat: FlatModel, wrt: str, at: Tensor, name: str) -> Tensor:
    """(1, ...): a picture of this color, or of random colors, in the network's units."""
    layout = layout_at(flat, wrt, at) if is_input(flat, wrt) else None
    if layout is None or layout.channel is None or layout.rank < 2:
        raise NotApplicable(
            f"the baseline {name!r} is a color, which {wrt!r} of {flat.name} has not; take mean, blur or a number."
        )
    channels = at.shape[layout.channel]
    preprocessing = flat.adapter.preprocessing.for_channels(channels)
    if channels != len(preprocessing.mean):
        raise NotApplicable(
            f"the baseline {name!r} is a color, but the input of {flat.name} has {channels} channels, and its "
            f"preprocessing {len(preprocessing.mean)}; give an Adapter(preprocessing=...) that fits, or a number."
        )
    if name == "uniform":
        picture = torch.rand(1, *at.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(at)
    else:
        picture = torch.full_like(at[:1], float(name == "white"), memory_format=torch.contiguous_format)
    return preprocessing.normalize(picture.movedim(layout.channel, -3)).movedim(-3, layout.channel).contiguous()


def input_baseline(flat: FlatModel, x: Tensor, wrt: str, baseline: Baseline) -> Tensor:
    """The baseline of the batch x (N, ...). Of several inputs, the explained one gets the baseline; others stay."""
    values = baseline_like(flat, explained_input(flat, wrt), input_of(flat, x, wrt), baseline)
    return with_input(flat, x, wrt, values)
