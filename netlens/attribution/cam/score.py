"""Score-CAM and its kin: channels weighted by the score of the image that they leave visible."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.attribution.cam.base import ActivationMaps, maps_of, weighted
from netlens.attribution.method import register
from netlens.attribution.noise import normal
from netlens.attribution.suffix import Suffix
from netlens.errors import NetLensError, NotApplicable
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.heatmaps import choose
from netlens.objectives import Objective

Convention = Literal["paper", "torchcam", "pytorch-grad-cam"]


@dataclass(frozen=True)
class MaskingMaps(ActivationMaps):
    """Abstract: each channel, as a mask in [0, 1] of the input, is weighted by the softmax of the scores it leaves.

    n_channels: only that many channels run, those whose values vary most over the image; None: all.

    convention: how a channel becomes a mask. "paper": it is upsampled, then scaled from its minimum to its maximum,
    and a channel that is constant shows nothing, so it is left out. "torchcam": scaled, then upsampled.
    "pytorch-grad-cam": upsampled with aligned corners, then scaled. In both of these 1e-8 is added to the divisor, and
    a constant channel takes part in the softmax as a black mask, which runs once for all of them.

    The score of a baseline, which the papers subtract from all, drops out of the softmax. `chunk` images run at once.
    """

    n_channels: int | None = None
    convention: Convention = "paper"
    chunk: int | None = None

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        choose("convention", self.convention, Convention)
        if x.ndim != 4:
            raise NotApplicable(f"{type(self).__name__} masks images (N, C, H, W), not {tuple(x.shape)}.")
        suffix = Suffix.of(flat, x, objective, flat.inputs[0], many=True)
        for maps in maps_of(flat, x, keys).values():
            yield weighted(self.weights(suffix, maps.to(x.dtype)), maps)

    @property
    @abstractmethod
    def copies(self) -> int:
        """How many masked images per channel are averaged."""

    @abstractmethod
    def disturbed(self, mask: Tensor, channel: int, copy: int) -> Tensor:
        """The mask (1, H, W) of a channel as this copy has it."""

    def weights(self, suffix: Suffix, maps: Tensor) -> Tensor:
        """(N, C): the softmax over channels of the mean score of the masked images."""
        x, (n, channels) = suffix.at, maps.shape[:2]
        spread = maps.amax((2, 3)) - maps.amin((2, 3))  # NaN for a broken channel, which runs and names itself
        constant = maps.amax((2, 3)) == maps.amin((2, 3))
        chosen = torch.ones_like(constant)
        if self.n_channels is not None:
            ranks = spread.argsort(stable=True, dim=1, descending=True)
            chosen = torch.zeros_like(constant).scatter(1, ranks[:, : _count("n_channels", self.n_channels)], True)
        # of the constant channels, where they count, the first runs for all
        runs = chosen & ~constant
        if self.convention != "paper":
            runs |= constant & (constant.cumsum(1) == 1)
        jobs = runs.nonzero()
        scores = torch.full((n, channels), -torch.inf, dtype=x.dtype, device=x.device)
        scores[runs] = 0

        def work(first: int, last: int) -> tuple[Tensor, Tensor]:
            where = jobs[torch.arange(first, last, device=jobs.device) // self.copies]
            samples, of_channels = where.T
            masks = self._masks(maps[samples, of_channels][:, None], x.shape[-2:])
            for row, (mask, channel) in enumerate(zip(masks, of_channels.tolist(), strict=True)):
                masks[row] = self.disturbed(mask, channel, (first + row) % self.copies)
            return where, suffix.value(samples.tolist(), x[samples] * masks) / self.copies

        for where, score in in_chunks(len(jobs) * self.copies, self.chunk, work):
            scores.index_put_((where[:, 0], where[:, 1]), score.to(scores.dtype), accumulate=True)
        if self.convention != "paper":
            shared = scores.gather(1, constant.int().argmax(1, keepdim=True))
            scores = torch.where(constant, shared, scores)
        nothing = constant.all(1, keepdim=True) & (self.convention == "paper")
        return torch.where(nothing, 0, scores.softmax(1))

    def _masks(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """(rows, 1, H, W) in [0, 1] from one channel (rows, 1, h, w) each."""
        size = list(size)
        if self.convention == "torchcam":
            return F.interpolate(_scaled(maps, eps=1e-8), size, mode="bilinear")
        if self.convention == "pytorch-grad-cam":
            return _scaled(F.interpolate(maps, size, mode="bilinear", align_corners=True), eps=1e-8)
        return _scaled(F.interpolate(maps, size, mode="bilinear"), eps=0)


@register
@dataclass(frozen=True)
class ScoreCAM(MaskingMaps):
    """Channels weighted by the softmax of the objective of the image seen through each of them; no gradients.

    Each channel is upsampled, scaled to [0, 1] and multiplied with the input (in the network's own units, so that what
    is masked becomes the mean color). `convention` has the orders of other libraries. `values` (N, 1, h, w) have the
    layer's resolution.

    Wang et al. 2019, https://arxiv.org/abs/1910.01279
    """

    @property
    def copies(self) -> int:
        return 1

    def disturbed(self, mask: Tensor, channel: int, copy: int) -> Tensor:
        return mask


@register
@dataclass(frozen=True)
class SSCAM(MaskingMaps):
    """Score-CAM with the score of each channel averaged over `n_samples` masks with normal noise of `noise_level`.

    The noise is added to the mask in [0, 1] at the input's resolution; it is the same for all samples of a batch, and
    another for each channel. `values` (N, 1, h, w) have the layer's resolution.

    Wang et al. 2020, https://arxiv.org/abs/2006.14255
    """

    n_samples: int = 35
    noise_level: float = 2.0
    seed: int = 0

    @property
    def copies(self) -> int:
        return _count("n_samples", self.n_samples)

    def disturbed(self, mask: Tensor, channel: int, copy: int) -> Tensor:
        return mask + self.noise_level * normal(mask[None], self.seed, channel, copy)


@register
@dataclass(frozen=True)
class ISCAM(MaskingMaps):
    """Score-CAM with the score of each channel integrated as its mask grows from nothing to itself in `n_steps`.

    Step i of n shows i / n of the mask. cumulative: i (i + 1) / 2n instead, as torchcam adds up the steps, which ends
    far above the mask itself. `values` (N, 1, h, w) have the layer's resolution.

    Naidu et al. 2020, https://arxiv.org/abs/2010.03023
    """

    n_steps: int = 10
    cumulative: bool = False

    @property
    def copies(self) -> int:
        return _count("n_steps", self.n_steps)

    def disturbed(self, mask: Tensor, channel: int, copy: int) -> Tensor:
        step = copy + 1
        return mask * ((step * (step + 1) / 2 if self.cumulative else step) / self.n_steps)


def _scaled(maps: Tensor, eps: float) -> Tensor:
    """Each map from its minimum at 0 to its maximum at 1; a constant one becomes 0."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low + eps).clamp(min=torch.finfo(maps.dtype).tiny)


def _count(name: str, value: int) -> int:
    if value < 1:
        raise NetLensError(f"{name} must be at least 1, not {value}.")
    return value
