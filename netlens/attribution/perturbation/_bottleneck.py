"""The information bottleneck: how many bits of each position of a layer the objective needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution._chunk import chunk_size
from netlens.attribution._noise import stream
from netlens.attribution._positions import positions_of
from netlens.attribution._rows import per_sample
from netlens.attribution._suffix import Suffix
from netlens.attribution.activations import batch_activations
from netlens.attribution.cam import cam_layer
from netlens.attribution.method import Method, register
from netlens.attribution.path.rows import summed
from netlens.attribution.perturbation._best import Best
from netlens.errors import NetLensError, NotApplicable
from netlens.fast.chunks import Chunks
from netlens.flat import FlatModel
from netlens.flat.bundle import is_input
from netlens.flat.running import differentiating
from netlens.objectives import Objective
from netlens.options import option
from netlens.precision import precise


@register
@dataclass(frozen=True, eq=False)
class InformationBottleneck(Method):
    """The bits that pass each entry of a layer when noise replaces what the objective does not need (IBA).

    `values` are KL(Z | R, noise) of each entry in bits. They have the shape of the layer. Their sum over channels is
    the map of the paper, and their whole sum is the number of bits that the objective needs.

    The activation R becomes Z = l R + (1 - l) noise. The noise is normal, with the mean and variance of R. Adam chooses
    l in (0, 1) for each entry in `n_steps` steps: it maximizes f(Z), averaged over `n_samples` draws, less `beta` times
    the mean information in nats. l is smooth over `sigma` positions. The result is the best of all steps, the start
    included, on one set of draws; `diagnostics["objective"]` (N,) is what it reaches.

    `layer` is where the noise enters. If `wrt` is a layer, the noise enters there. None takes the layer in the middle
    of those that all information passes, up to the layer of class activation maps: conv3_4 of a ResNet-50, as in the
    paper.

    The mean and deviation of a channel are taken over the positions of R in the sample. With `reference`, they are
    taken over the samples and positions of these inputs (K, ...). A deviation is at least a hundredth of the mean
    deviation of the layer. A layer of vectors has no positions and needs a reference.

    In the paper, f is the log-probability of the class, in nats. A logit has no bound, so it outweighs the information
    more.

    Schulz et al. 2020, https://arxiv.org/abs/2001.00396
    """

    layer: str | int | None = option(None, help="Where the noise enters; none for a layer in the middle.")
    beta: float = option(10.0, least=0, help="Weight of the information.")
    n_steps: int = option(10, least=1, help="Steps of the optimizer.")
    n_samples: int = option(10, least=1, help="Noise draws in each step.")
    learning_rate: float = option(1.0, above=0, help="Learning rate of the optimizer.")
    sigma: float = option(1.0, least=0, help="Smoothness of the mask, in places of the layer.")
    reference: Tensor | None = option(None, help="Inputs (K, ...) that give the mean and deviation of each channel.")
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    distributions = ("reference",)
    reduction = "cam"

    def at(self, flat: FlatModel, x: Tensor, wrt: str) -> str:
        if not is_input(flat, wrt):
            return flat.key(wrt)
        return flat.key(self.layer) if self.layer is not None else bottleneck_layer(flat, x)

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        key = self.at(flat, x, wrt)
        if self.reference is not None and not (
            isinstance(self.reference, Tensor) and self.reference.ndim == x.ndim and len(self.reference) > 0
        ):
            kind = tuple(self.reference.shape) if isinstance(self.reference, Tensor) else repr(self.reference)
            sizes = ", ".join(map(str, x.shape[1:]))
            raise NetLensError(f"reference must be inputs of the network, a tensor (m, {sizes}), not {kind}.")
        suffix = Suffix.of(flat, x, objective, key)
        activation = precise(suffix.activation)
        dims = positions_of(flat, key, activation)
        mean, deviation = self._statistics(flat, x, key, activation, dims)
        surprise = ((activation - mean) / deviation).square()
        kernels = [_gaussian(activation.shape[dim], self.sigma).to(activation) for dim in dims]
        noisy = _Noisy(suffix, activation, mean, deviation, self.n_samples, self.seed, Chunks(chunk_size()))
        logits = torch.full_like(activation, 5.0)  # almost all information passes at first
        adam, best = torch.optim.Adam([logits], lr=self.learning_rate), Best()
        for step in range(self.n_steps + 1):
            with differentiating():
                share = _blurred(torch.sigmoid(logits.requires_grad_()), dims, kernels)
                nats = information(share, surprise)
                price = nats.flatten(1).mean(1)
            # all steps are judged on the noise of the first step, because a step may be lucky on its own noise
            best.offer(noisy.value(share.detach(), 0) - self.beta * price.detach(), nats.detach())
            if step < self.n_steps:
                gain = noisy.gain(share.detach(), step)
                (slope,) = torch.autograd.grad([price, share], logits, [torch.full_like(price, self.beta), -gain])
                logits.requires_grad_(False).grad = slope
                adam.step()
        return best.candidate / math.log(2), {"objective": best.value}

    def _statistics(
        self, flat: FlatModel, x: Tensor, key: str, activation: Tensor, dims: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """The mean and deviation of each channel, which broadcast to `activation`."""
        if self.reference is not None:
            activations = batch_activations(flat, self.reference.to(x), [key])[key]
            activations = per_sample(key, activations, len(self.reference)).to(activation)
            over: tuple[int, ...] = (0, *dims) if activation.ndim > 2 else (0,)
        elif activation.ndim > 2:
            activations, over = activation, dims
        else:
            raise NotApplicable(
                f"layer {key!r} gives vectors, and the deviation of a feature needs several inputs; give "
                "reference=..., or a layer with maps or tokens."
            )
        mean, deviation = activations.mean(over, keepdim=True), activations.std(over, correction=0, keepdim=True)
        # in a dead channel with a deviation of 0, any activation would be infinitely surprising
        least = deviation.flatten(1).mean(1).view(-1, *[1] * (activation.ndim - 1)) / 100
        return mean, torch.maximum(deviation, least.clamp(min=torch.finfo(activation.dtype).tiny))


@dataclass(frozen=True)
class _Noisy:
    """The mean of f(Z) over draws of the noise, as a function of the share of R in Z."""

    suffix: Suffix
    activation: Tensor  # (n, ...), R
    mean: Tensor
    deviation: Tensor
    n_samples: int
    seed: int
    chunks: Chunks

    def value(self, share: Tensor, step: int) -> Tensor:
        """(n,): the mean over the draws of this step."""

        def value(rows: list[int], mixed: Tensor, noise: Tensor) -> Tensor:
            return self.suffix.value(rows, mixed).to(self.activation)

        return self._averaged(value, share, step)

    def gain(self, share: Tensor, step: int) -> Tensor:
        """(n, ...): the slope of `value` with respect to the share."""

        def slope(rows: list[int], mixed: Tensor, noise: Tensor) -> Tensor:
            return self.suffix.gradient(rows, mixed) * (self.activation[rows] - noise)

        return self._averaged(slope, share, step)

    def _averaged(self, function: Callable[[list[int], Tensor, Tensor], Tensor], share: Tensor, step: int) -> Tensor:
        n = len(self.activation)

        def work(first: int, last: int) -> Tensor:
            rows = [row % n for row in range(first, last)]
            draws = {draw: self._draw(step, draw) for draw in range(first // n, (last - 1) // n + 1)}
            drawn = torch.stack([draws[row // n] for row in range(first, last)]).to(self.activation)
            noise = _rows(self.mean, rows) + _rows(self.deviation, rows) * drawn
            mixed = share[rows] * self.activation[rows] + (1 - share[rows]) * noise
            return summed(function(rows, mixed.to(self.suffix.activation), noise), rows, n)

        total = sum(self.chunks.over(self.n_samples * n, work))
        assert isinstance(total, Tensor)
        return total / self.n_samples

    def _draw(self, step: int, draw: int) -> Tensor:
        # all samples share the noise, so a batch gives the same values as its samples one by one
        return torch.randn(self.activation.shape[1:], generator=stream(self.seed, step, draw), dtype=torch.float64)


def information(share: Tensor, surprise: Tensor) -> Tensor:
    """KL(P || Q) in nats of each entry. P is the distribution of Z = share R + (1 - share) noise, Q that of the noise.

    Args:
        share: The share of R in Z, in [0, 1].
        surprise: ((R - mean) / deviation)^2, with the mean and deviation of the noise.
    """
    noise_share = (1 - share).clamp(
        min=torch.finfo(share.dtype).eps
    )  # a share of 1 would let infinitely many bits pass
    return (noise_share.square() + share.square() * surprise - 1) / 2 - noise_share.log()


def bottleneck_layer(flat: FlatModel, x: Tensor | None = None) -> str:
    """The layer in the middle of those that all information passes, up to the layer of class activation maps.

    All information passes a layer if no later layer reads a value from before it, as between two residual blocks.

    Args:
        flat: The network.
        x: A batch like those to be explained, for its shape; by default of the usual shape.

    Raises:
        NotApplicable: The network has no such layer.

    Example:
        >>> from netlens import open_network
        >>> bottleneck_layer(open_network())
        'trunk_output.block2.block2-1.activation'
    """
    end, waist = cam_layer(flat, x), []
    from_image = set(flat.inputs)  # values that depend on the image: not sizes, and not what follows from weights alone
    steps = [step for step in flat.program.steps if not step.hidden]
    last_read = {key: index for index, step in enumerate(steps) for key in step.reads}
    reach = max(last_read.get(key, 0) for key in flat.inputs)
    for index, step in enumerate(steps):
        if not from_image.isdisjoint(step.reads):
            from_image.add(step.key)
            if reach <= index:
                waist.append(step.key)
            reach = max(reach, last_read.get(step.key, 0))
        if step.key == end:
            break
    if not waist:
        raise NotApplicable(f"{flat.name} has no layer that all information passes; name a layer with layer=....")
    return waist[(len(waist) - 1) // 2]


def _gaussian(size: int, sigma: float) -> Tensor:
    """(size, size): a matrix that averages the neighbors of a position with Gaussian weights, mirrored at both ends."""
    places = torch.arange(size, dtype=torch.float64)
    if sigma == 0:
        return torch.eye(size, dtype=torch.float64)
    # beyond the ends, the positions repeat as in a mirror, with a period of twice the size
    images = torch.cat([places + 2 * size * k for k in (-1, 0, 1)] + [2 * size * k - 1 - places for k in (0, 1)])
    weights = torch.exp(-((places[:, None] - images) ** 2) / (2 * sigma**2))
    weights = weights.unflatten(1, (-1, size)).sum(1)
    shares: Tensor = weights / weights.sum(1, keepdim=True)
    return shares


def _blurred(share: Tensor, dims: tuple[int, ...], kernels: list[Tensor]) -> Tensor:
    for dim, kernel in zip(dims, kernels, strict=True):
        with torch.autocast(share.device.type, enabled=False):
            share = (share.movedim(dim, -1) @ kernel.T).movedim(-1, dim)
    return share


def _rows(statistic: Tensor, rows: list[int]) -> Tensor:
    """The statistic of the sample of each row. A reference has one statistic for all samples."""
    return statistic if len(statistic) == 1 else statistic[rows]
