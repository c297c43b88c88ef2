"""The information bottleneck: how many bits of each place of a layer the objective needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.batch import record_batch
from netlens.attribution.cam import cam_layer
from netlens.attribution.chunk import chunk_size
from netlens.attribution.engine import per_sample
from netlens.attribution.method import Method, register
from netlens.attribution.noise import stream
from netlens.attribution.path.rows import summed
from netlens.attribution.perturbation.best import Best
from netlens.attribution.perturbation.masks import spatial_dims
from netlens.attribution.suffix import Suffix
from netlens.errors import NetLensError, NotApplicable
from netlens.fast.chunks import Chunks
from netlens.flat import FlatModel
from netlens.flat.modes import differentiating
from netlens.flat.precision import precise
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class InformationBottleneck(Method):
    """IBA, per sample: the bits that pass each entry of a layer when noise takes what the objective can do without.

    The activation R becomes Z = l R + (1 - l) noise, with normal noise of the mean and variance of R, and l in (0, 1)
    chosen for each entry by `n_steps` of Adam to maximize f(Z), averaged over `n_samples` draws, less `beta` times the
    mean information KL(Z | R, noise) in nats; l is smooth over `sigma` places. Of all steps, the start among them,
    the one counts that does best on the same draws, as `diagnostics["objective"]` says. `values` are that information
    in bits, of the shape of the layer: their sum over channels is the paper's map, their whole sum the bits that are
    needed.

    layer: where the noise comes in; with `wrt` a layer, it is that one. None takes the middle one of the layers, up to
    that of class activation maps, that all information passes: conv3_4 of a ResNet-50, as in the paper.

    The mean and deviation of a channel are those over the places of the sample's own R, or, with `reference`, over
    the samples and places of these inputs (K, ...); no deviation is taken below a hundredth of the layer's mean one. A
    layer of vectors has no places, and needs a reference.

    The paper's f is the log-probability of the class, in nats; that of a logit is not bounded, and weighs more.

    Schulz et al. 2020, https://arxiv.org/abs/2001.00396
    """

    layer: str | int | None = option(None, help="Where the noise comes in; none for a layer in the middle.")
    beta: float = option(10.0, least=0, help="Weight of the information.")
    n_steps: int = option(10, least=1, help="Steps of the optimizer.")
    n_samples: int = option(10, least=1, help="Draws of the noise in each step.")
    learning_rate: float = option(1.0, above=0, help="Learning rate of the optimizer.")
    sigma: float = option(1.0, least=0, help="Smoothness of the mask, in places of the layer.")
    reference: Tensor | None = option(None, help="Inputs (K, ...) that say the mean and deviation of each channel.")
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    distributions = ("reference",)
    reduction = "cam"

    def at(self, flat: FlatModel, wrt: str) -> str:
        if wrt not in flat.inputs:
            return flat.key(wrt)
        return flat.key(self.layer) if self.layer is not None else bottleneck_layer(flat)

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        key = self.at(flat, wrt)
        if self.reference is not None and not (
            isinstance(self.reference, Tensor) and self.reference.ndim == x.ndim and len(self.reference) > 0
        ):
            got = tuple(self.reference.shape) if isinstance(self.reference, Tensor) else repr(self.reference)
            wanted = ", ".join(map(str, x.shape[1:]))
            raise NetLensError(f"reference holds inputs of the network, a tensor (m, {wanted}), not {got}.")
        suffix = Suffix.of(flat, x, objective, key)
        at = precise(suffix.at)
        dims = spatial_dims(flat, key, at)
        mean, deviation = self._statistics(flat, x, key, at, dims)
        surprise = ((at - mean) / deviation).square()
        kernels = [_gaussian(at.shape[dim], self.sigma).to(at) for dim in dims]
        noisy = _Noisy(suffix, at, mean, deviation, self.n_samples, self.seed, Chunks(chunk_size()))
        raised = torch.full_like(at, 5.0)  # almost all information passes at first
        adam, best = torch.optim.Adam([raised], lr=self.learning_rate), Best()
        for step in range(self.n_steps + 1):
            with differentiating():
                share = _blurred(torch.sigmoid(raised.requires_grad_()), dims, kernels)
                nats = information(share, surprise)
                price = nats.flatten(1).mean(1)
            # all are judged on the noise of the first step: each step's own would favor those that were lucky in it
            best.offer(noisy.value(share.detach(), 0) - self.beta * price.detach(), nats.detach())
            if step < self.n_steps:
                gain = noisy.gain(share.detach(), step)
                (slope,) = torch.autograd.grad([price, share], raised, [torch.full_like(price, self.beta), -gain])
                raised.requires_grad_(False).grad = slope
                adam.step()
        return best.candidate / math.log(2), {"objective": best.value}

    def _statistics(
        self, flat: FlatModel, x: Tensor, key: str, at: Tensor, dims: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """The mean and deviation of each channel, which broadcast to `at`."""
        if self.reference is not None:
            known = record_batch(flat, self.reference.to(x), [key])[key]
            known = per_sample(key, known, len(self.reference)).to(at)
            over: tuple[int, ...] = (0, *dims) if at.ndim > 2 else (0,)
        elif at.ndim > 2:
            known, over = at, dims
        else:
            raise NotApplicable(
                f"layer {key!r} gives vectors, and the spread of a feature needs several inputs: give reference=..., "
                "or a layer with maps or tokens."
            )
        mean, deviation = known.mean(over, keepdim=True), known.std(over, correction=0, keepdim=True)
        # with a dead channel, any activation would be infinitely surprising
        least = deviation.flatten(1).mean(1).view(-1, *[1] * (at.ndim - 1)) / 100
        return mean, torch.maximum(deviation, least.clamp(min=torch.finfo(at.dtype).tiny))


@dataclass(frozen=True)
class _Noisy:
    """f(Z), averaged over draws of the noise, as a function of the share of R in Z."""

    suffix: Suffix
    at: Tensor  # (n, ...), R
    mean: Tensor
    deviation: Tensor
    n_samples: int
    seed: int
    chunks: Chunks

    def value(self, share: Tensor, step: int) -> Tensor:
        """(n,): by the draws of this step."""

        def value(rows: list[int], mixed: Tensor, noise: Tensor) -> Tensor:
            return self.suffix.value(rows, mixed).to(self.at)

        return self._averaged(value, share, step)

    def gain(self, share: Tensor, step: int) -> Tensor:
        """(n, ...): its slope with respect to the share."""

        def slope(rows: list[int], mixed: Tensor, noise: Tensor) -> Tensor:
            return self.suffix.gradient(rows, mixed) * (self.at[rows] - noise)

        return self._averaged(slope, share, step)

    def _averaged(self, what: Callable[[list[int], Tensor, Tensor], Tensor], share: Tensor, step: int) -> Tensor:
        n = len(self.at)

        def work(first: int, last: int) -> Tensor:
            rows = [row % n for row in range(first, last)]
            draws = {draw: self._drawn(step, draw) for draw in range(first // n, (last - 1) // n + 1)}
            drawn = torch.stack([draws[row // n] for row in range(first, last)]).to(self.at)
            noise = _rows(self.mean, rows) + _rows(self.deviation, rows) * drawn
            mixed = share[rows] * self.at[rows] + (1 - share[rows]) * noise
            return summed(what(rows, mixed.to(self.suffix.at), noise), rows, n)

        total = sum(self.chunks.over(self.n_samples * n, work))
        assert isinstance(total, Tensor)
        return total / self.n_samples

    def _drawn(self, step: int, draw: int) -> Tensor:
        # the same for all samples, so that a batch equals its samples one by one
        return torch.randn(self.at.shape[1:], generator=stream(self.seed, step, draw), dtype=torch.float64)


def information(share: Tensor, surprise: Tensor) -> Tensor:
    """KL(P || Q) in nats of each entry: P of Z = share R + (1 - share) noise with R known, Q of the noise alone.

    surprise: ((R - mean) / deviation)^2, with the mean and deviation of the noise.
    """
    rest = (1 - share).clamp(min=torch.finfo(share.dtype).eps)  # all of R would be infinitely many bits
    return (rest.square() + share.square() * surprise - 1) / 2 - rest.log()


def bottleneck_layer(flat: FlatModel) -> str:
    """The middle one of the layers that all information passes, from the input to the layer of class activation maps.

    Those are the layers before which nothing was computed that is read after them, as between two residual blocks.
    """
    end, waist = cam_layer(flat), []
    told = set(flat.inputs)  # what tells of the image: not sizes, nor what depends on weights alone
    steps = [step for step in flat.program.steps if not step.hidden]
    last_read = {key: index for index, step in enumerate(steps) for key in step.reads}
    reach = max(last_read.get(key, 0) for key in flat.inputs)
    for index, step in enumerate(steps):
        if not told.isdisjoint(step.reads):
            told.add(step.key)
            if reach <= index:
                waist.append(step.key)
            reach = max(reach, last_read.get(step.key, 0))
        if step.key == end:
            break
    if not waist:
        raise NotApplicable(f"{flat.name} has no layer that all information passes; name one with layer=....")
    return waist[(len(waist) - 1) // 2]


def _gaussian(size: int, sigma: float) -> Tensor:
    """(size, size): what takes each of `size` places to the Gaussian mean of its neighbors, mirrored at the ends."""
    places = torch.arange(size, dtype=torch.float64)
    if sigma == 0:
        return torch.eye(size, dtype=torch.float64)
    # beyond the ends, places repeat mirrored with a period of twice the size
    images = torch.cat([places + 2 * size * k for k in (-1, 0, 1)] + [2 * size * k - 1 - places for k in (0, 1)])
    weights = torch.exp(-((places[:, None] - images) ** 2) / (2 * sigma**2))
    weights = weights.unflatten(1, (-1, size)).sum(1)
    return weights / weights.sum(1, keepdim=True)


def _blurred(share: Tensor, dims: tuple[int, ...], kernels: list[Tensor]) -> Tensor:
    for dim, kernel in zip(dims, kernels, strict=True):
        with torch.autocast(share.device.type, enabled=False):
            share = (share.movedim(dim, -1) @ kernel.T).movedim(-1, dim)
    return share


def _rows(statistic: Tensor, rows: list[int]) -> Tensor:
    """A statistic of each sample for these rows; that of a reference is one for all."""
    return statistic if len(statistic) == 1 else statistic[rows]
