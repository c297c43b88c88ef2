"""Score-CAM and its relatives: channels weighted by the score of the image that they leave visible."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._noise import normal
from netlens.attribution._positions import has_maps, positions_of
from netlens.attribution._suffix import Suffix
from netlens.attribution.cam._base import ActivationMaps, maps_of, weighted
from netlens.attribution.cam._sides import resized, sides_of
from netlens.attribution.method import register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.bundle import first_input
from netlens.objectives import Objective
from netlens.options import option

Convention = Literal["paper", "torchcam", "pytorch-grad-cam"]


@dataclass(frozen=True)
class MaskingMaps(ActivationMaps):
    """Abstract: a method that masks the input with each channel, and weighs the channel by the softmax of the scores.

    `n_channels` is the number of channels that run: those whose values vary most over the image. None runs all.

    `convention` says how a channel becomes a mask in [0, 1]. The papers leave room for several ways. "paper" resizes
    the channel and then scales it to the range from 0 to 1; a constant channel shows nothing and gets no weight.
    "torchcam" scales and then resizes. "pytorch-grad-cam" resizes with aligned corners and then scales. These two give
    the numbers of the libraries: they add 1e-8 to the divisor, and a constant channel takes part in the softmax as a
    black mask. One run serves all constant channels.

    The papers subtract the score of a baseline from all scores. The softmax does not change with it, so it is left out.
    """

    n_channels: int | None = option(None, least=1, help="How many channels run: those that vary most; none for all.")
    convention: Convention = option("paper", help="How a channel becomes a mask: as in the paper, or as in a library.")

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        suffix = Suffix.of(flat, x, objective, first_input(flat), many=True)
        if not has_maps(flat, suffix.wrt, suffix.activation):
            raise NotApplicable(
                f"{type(self).__name__} masks images (N, C, H, W), not {tuple(suffix.activation.shape)}."
            )
        for maps in maps_of(flat, x, keys).values():
            yield weighted(self.weights(suffix, maps.to(x.dtype)), maps)

    @property
    @abstractmethod
    def copies(self) -> int:
        """The number of masked images per channel, whose scores are averaged."""

    @abstractmethod
    def disturbed(self, mask: Tensor, channel: int, copy: int) -> Tensor:
        """The mask (1, H, W) of a channel in this copy."""

    def weights(self, suffix: Suffix, maps: Tensor) -> Tensor:
        """(N, C): the softmax over channels of the mean score of the masked images."""
        x, (n, channels) = suffix.activation, maps.shape[:2]
        sides, positions = sides_of(maps), positions_of(suffix.flat, suffix.wrt, x)
        size = [x.shape[dim] for dim in positions]
        spread = maps.amax(sides) - maps.amin(sides)  # NaN for a broken channel, which then runs and is reported
        constant = maps.amax(sides) == maps.amin(sides)
        chosen = torch.ones_like(constant)
        if self.n_channels is not None:
            ranks = spread.argsort(stable=True, dim=1, descending=True)
            chosen = torch.zeros_like(constant).scatter(1, ranks[:, : self.n_channels], True)
        # where constant channels count, the first of them runs for all
        runs = chosen & ~constant
        if self.convention != "paper":
            runs |= constant & (constant.cumsum(1) == 1)
        jobs = runs.nonzero()
        scores = torch.full((n, channels), -torch.inf, dtype=x.dtype, device=x.device)
        scores[runs] = 0

        def work(first: int, last: int) -> tuple[Tensor, Tensor]:
            where = jobs[torch.arange(first, last, device=jobs.device) // self.copies]
            samples, of_channels = where.T
            masks = self._masks(maps[samples, of_channels][:, None], size)
            for row, (mask, channel) in enumerate(zip(masks, of_channels.tolist(), strict=True)):
                masks[row] = self.disturbed(mask, channel, (first + row) % self.copies)
            return where, suffix.value(
                samples.tolist(), x[samples] * _in_layout(masks, positions, x.ndim)
            ) / self.copies

        for where, score in in_chunks(len(jobs) * self.copies, work):
            scores.index_put_((where[:, 0], where[:, 1]), score.to(scores.dtype), accumulate=True)
        if self.convention != "paper":
            shared = scores.gather(1, constant.int().argmax(1, keepdim=True))
            scores = torch.where(constant, shared, scores)
        no_channel = constant.all(1, keepdim=True) & (self.convention == "paper")
        return torch.where(no_channel, 0, scores.softmax(1))

    def _masks(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """Masks (rows, 1, H, W) in [0, 1], each from one channel of maps (rows, 1, h, w)."""
        if self.convention == "torchcam":
            return resized(_scaled(maps, eps=1e-8), size)
        if self.convention == "pytorch-grad-cam":
            return _scaled(resized(maps, size, align_corners=True), eps=1e-8)
        return _scaled(resized(maps, size), eps=0)


@register
@dataclass(frozen=True)
class ScoreCAM(MaskingMaps):
    """The channels of a late layer, weighted by the objective of the image that each of them leaves visible.

    `values` (N, 1, h, w) are sum_c w_c A_c at the resolution of the layer, with w = softmax over channels of
    f(x * mask_c). The method needs no gradient. A mask is a channel, resized and scaled to [0, 1]. It multiplies the
    input after preprocessing, so a masked position becomes the mean color. `convention` has the orders of
    other libraries.

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
    """Score-CAM in which the score of each channel is the mean over noisy masks.

    `values` (N, 1, h, w) have the resolution of the layer. Normal noise of deviation `noise_level` is added to the mask
    in [0, 1] at the resolution of the input, in `n_samples` copies. The noise is the same for all samples of a batch,
    and differs between channels.

    Wang et al. 2020, https://arxiv.org/abs/2006.14255
    """

    n_samples: int = option(35, least=1, help="Noisy masks for each channel.")
    noise_level: float = option(2.0, least=0, help="Deviation of the noise on a mask in [0, 1].")
    seed: int = option(0, least=0, help="Seed of the random numbers.")

    @property
    def copies(self) -> int:
        return self.n_samples

    def disturbed(self, mask: Tensor, channel: int, copy: int) -> Tensor:
        return mask + self.noise_level * normal(mask[None], self.seed, channel, copy)


@register
@dataclass(frozen=True)
class ISCAM(MaskingMaps):
    """Score-CAM in which the score of each channel is the mean while its mask grows from nothing to its full values.

    `values` (N, 1, h, w) have the resolution of the layer. Step i of the `n_steps` shows i / n_steps of the mask. With
    `cumulative`, it shows i (i + 1) / (2 n_steps), because torchcam adds up the steps; the last step then lies far
    above the mask.

    Naidu et al. 2020, https://arxiv.org/abs/2010.03023
    """

    n_steps: int = option(10, least=1, help="Steps in which a mask grows.")
    cumulative: bool = option(False, help="Whether steps add up, as in torchcam.")

    @property
    def copies(self) -> int:
        return self.n_steps

    def disturbed(self, mask: Tensor, channel: int, copy: int) -> Tensor:
        step = copy + 1
        return mask * ((step * (step + 1) / 2 if self.cumulative else step) / self.n_steps)


def _in_layout(masks: Tensor, positions: Sequence[int], ndim: int) -> Tensor:
    """Masks (rows, 1, *sizes) in a shape that broadcasts to an input with these positions."""
    masks = masks if masks.ndim == ndim else masks[:, 0]
    return masks.movedim(tuple(range(masks.ndim - len(positions), masks.ndim)), tuple(positions))


def _scaled(maps: Tensor, eps: float) -> Tensor:
    """Each map, scaled so that its minimum is 0 and its maximum 1; a constant map becomes 0."""
    low, high = maps.amin(sides_of(maps), keepdim=True), maps.amax(sides_of(maps), keepdim=True)
    return (maps - low) / (high - low + eps).clamp(min=torch.finfo(maps.dtype).tiny)
