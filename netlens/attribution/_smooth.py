"""SmoothGrad and its relatives: statistics of a method's values over noisy copies of the input."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._gradient import InputGradient
from netlens.attribution._noise import normal, spans
from netlens.attribution._wrapping import Wrapping
from netlens.attribution.method import Method, register
from netlens.flat import FlatModel
from netlens.heatmaps import Reduction
from netlens.objectives import Objective
from netlens.options import option


@dataclass(frozen=True)
class _Noisy(Wrapping):
    """Abstract: a statistic of the values of `method` over `n_samples` noisy copies of each input.

    The noise is normal. Its standard deviation is `noise_level` times the range (max - min) of the sample. All samples
    of a batch get the same noise pattern, so a batch gives the same values as its samples one by one.
    """

    n_samples: int = option(25, least=1, help="Noisy copies of each input.")
    noise_level: float = option(
        0.15, least=0, help="Deviation of the noise, as a share of the range (max - min) of the sample."
    )
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    method: Method = option(factory=InputGradient, help="The method whose values are averaged.")

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return self.reduce(self._copies(flat, x, objective, wrt))

    @abstractmethod
    def reduce(self, copies: Iterator[Tensor]) -> Tensor:
        """The statistic of the method's values. `copies` yields the values of one noisy copy of the batch at a time."""

    def _copies(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Iterator[Tensor]:
        n = len(x)
        scale = self.noise_level * spans(flat, x, wrt)

        def work(first: int, last: int) -> Tensor:
            # rows of one sample lie n apart: first all samples of one copy, then all samples of the next
            rows = [row % n for row in range(first, last)]
            noise = {copy: normal(x, self.seed, copy) for copy in range(first // n, (last - 1) // n + 1)}
            noisy = x[rows] + scale[rows] * torch.stack([noise[row // n] for row in range(first, last)])
            values = self.method.attribute(flat, noisy, objective.take(rows), wrt)
            return values[0] if isinstance(values, tuple) else values

        if _holds_rows(self.method, n):  # the rows of an option fit only whole copies of the batch
            chunks: Iterator[Tensor] = (work(copy * n, (copy + 1) * n) for copy in range(self.n_samples))
        else:
            chunks = in_chunks(self.n_samples * n, work)
        rows = (row for chunk in chunks for row in chunk)
        return (torch.stack(copy) for copy in zip(*[rows] * n, strict=True))


def _holds_rows(method: Method, n: int) -> bool:
    """Whether an option of the method may hold one row for each of n samples, as baselines do."""
    return any(
        _holds_rows(value, n) if isinstance(value, Method) else isinstance(value, Tensor) and value.shape[:1] == (n,)
        for value in vars(method).values()
    )


@register
@dataclass(frozen=True)
class SmoothGradient(_Noisy):
    """SmoothGrad: the mean over noisy copies of the input.

    `values` are mean_i method(x + noise_i). They have the shape and the unit of the method's values.

    Smilkov et al. 2017, https://arxiv.org/abs/1706.03825
    """

    @property
    def reduction(self) -> Reduction:  # type: ignore[override]
        return self.method.reduction

    @property
    def linear(self) -> bool:  # type: ignore[override]
        return self.method.linear

    def reduce(self, copies: Iterator[Tensor]) -> Tensor:
        return sum(copies) / self.n_samples  # type: ignore[return-value]


@register
@dataclass(frozen=True)
class SmoothGradientSquared(_Noisy):
    """SmoothGrad-Squared: the mean of the squared values over noisy copies of the input.

    `values` are mean_i method(x + noise_i)^2. They have the shape of the method's values, and the square of their unit.

    Hooker et al. 2019, https://arxiv.org/abs/1806.10758
    """

    def reduce(self, copies: Iterator[Tensor]) -> Tensor:
        return sum(values.square() for values in copies) / self.n_samples  # type: ignore[return-value]


@register
@dataclass(frozen=True)
class VarGrad(_Noisy):
    """VarGrad: the (population) variance of the values over noisy copies of the input.

    `values` are mean_i (method(x + noise_i) - mean)^2. They have the shape of the method's values, and the square of
    their unit.

    Adebayo et al. 2018, https://arxiv.org/abs/1810.03307
    """

    def reduce(self, copies: Iterator[Tensor]) -> Tensor:
        mean = spread = torch.zeros(())
        # Welford's running variance, because the difference of two large sums would lose all digits
        for count, values in enumerate(copies, start=1):
            mean, spread = mean.to(values), spread.to(values)
            change = values - mean
            mean = mean + change / count
            spread = spread + change * (values - mean)
        return spread / self.n_samples
