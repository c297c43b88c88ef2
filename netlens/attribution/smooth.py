"""SmoothGrad and its kin: a method's values over noisy copies of the input."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netlens.attribution.engine import in_chunks
from netlens.attribution.gradient import InputGradient
from netlens.attribution.method import Method, register
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Objective


@dataclass(frozen=True)
class _Noisy(Method):
    """Abstract: statistics of `method` over `n_samples` noisy copies of each input.

    The noise is normal with a standard deviation of `noise_level` times the range (max - min) of the sample. All samples
    of a batch see the same noise pattern, so a batch equals its samples one by one.
    """

    n_samples: int = 25
    noise_level: float = 0.15
    seed: int = 0
    method: Method = field(default_factory=InputGradient)
    chunk: int = 8

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        if self.n_samples < 1 or self.noise_level < 0 or self.chunk < 1:
            raise NetLensError("n_samples and chunk must be at least 1, and noise_level at least 0.")
        return self.reduce(self._values(flat, x, objective, wrt))

    @abstractmethod
    def reduce(self, values: Iterator[Tensor]) -> Tensor:
        """The statistic of the method's values, which come one noisy copy at a time."""

    def _values(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        span = x.flatten(1).amax(1) - x.flatten(1).amin(1)
        scale = (self.noise_level * span).view(-1, *[1] * (x.ndim - 1))
        # one copy at a time, so that neither memory nor the stream of noise depends on how it is chunked
        for _ in range(self.n_samples):
            noise = torch.randn(x.shape[1:], generator=generator, dtype=torch.float64).to(x)

            def work(start: int, stop: int, noise: Tensor = noise) -> Tensor:
                rows = range(start, stop)
                noisy = x[start:stop] + scale[start:stop] * noise
                values = self.method.attribute(flat, noisy, objective.take(rows), wrt)
                return values[0] if isinstance(values, tuple) else values

            yield torch.cat(list(in_chunks(len(x), self.chunk, work)))


@register
@dataclass(frozen=True)
class SmoothGradient(_Noisy):
    """SmoothGrad: the mean over noisy copies of the input.

    Smilkov et al. 2017, https://arxiv.org/abs/1706.03825
    """

    def reduce(self, values: Iterator[Tensor]) -> Tensor:
        return sum(values) / self.n_samples  # type: ignore[return-value]


@register
@dataclass(frozen=True)
class SmoothGradientSquared(_Noisy):
    """SmoothGrad-Squared: the mean of the squares over noisy copies of the input.

    Hooker et al. 2019, https://arxiv.org/abs/1806.10758
    """

    def reduce(self, values: Iterator[Tensor]) -> Tensor:
        return sum(value.square() for value in values) / self.n_samples  # type: ignore[return-value]


@register
@dataclass(frozen=True)
class VarGrad(_Noisy):
    """VarGrad: the (population) variance over noisy copies of the input.

    Adebayo et al. 2018, https://arxiv.org/abs/1810.03307
    """

    def reduce(self, values: Iterator[Tensor]) -> Tensor:
        mean = spread = None
        # Welford's running variance: the difference of two large sums would lose all digits
        for count, value in enumerate(values, start=1):
            if mean is None or spread is None:
                mean, spread = value, torch.zeros_like(value)
                continue
            change = value - mean
            mean = mean + change / count
            spread = spread + change * (value - mean)
        assert spread is not None
        return spread / self.n_samples
