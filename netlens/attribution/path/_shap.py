"""Expected gradients: integrated gradients averaged over many baselines, by sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._noise import normal, spans
from netlens.attribution._rows import per_sample
from netlens.attribution.engine import gradient_of
from netlens.attribution.method import Method, register
from netlens.attribution.path.rows import each, rows_of, summed
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.flat.bundle import input_of, with_input
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class GradientShap(Method):
    """Expected gradients: the gradient at random points between baselines and the input, times their difference.

    `values` are the mean over draws of (x - b) * d f(b + t (x - b)) / d x, with a random baseline b and a random t in
    [0, 1]. They have the shape of `wrt` and the unit of the objective f. `multiply=False` gives the mean gradient. With
    respect to a layer, the gradient and the difference are those of the layer.

    `baselines` is one number, or a distribution (m, ...) of inputs; each draw takes one of them. `noise_level` is the
    standard deviation of noise on the input, as a share of the range (max - min) of the sample.

    In expectation, the values sum to f(x) minus the mean of f over the baselines. All samples of a batch share the
    draws. The draws are stratified: each of the `n_samples` equal parts of the path has one point, and m neighboring
    points use each of the m baselines once. This keeps the expectation and lowers the variance.

    Erion et al. 2019, https://arxiv.org/abs/1906.10670; Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874
    """

    n_samples: int = option(50, least=1, help="Gradients for each input.")
    baselines: float | Tensor = option(0.0, help="One number, or a tensor (m, ...) of inputs to draw from.")
    noise_level: float = option(
        0.0, least=0, help="Deviation of noise on the input, as a share of the range (max - min) of the sample."
    )
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    multiply: bool = option(
        True, help="Whether to multiply by the change from the baseline; else the values are the mean gradient."
    )
    distributions = ("baselines",)
    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        baselines, n = self._distribution(input_of(flat, x, wrt)), len(x)
        shares, chosen = self.draws(len(baselines))
        scale = self.noise_level * spans(flat, x, wrt)

        def at(points: Tensor) -> Tensor:
            return points if wrt in flat.inputs else per_sample(wrt, flat.record(points, layers=wrt)[wrt], len(points))

        def work(first: int, last: int) -> Tensor:
            rows, draws = rows_of(first, last, n)
            start, end = with_input(flat, x[rows], wrt, baselines[chosen[draws]]), x[rows]
            if self.noise_level > 0:
                end = end + scale[rows] * torch.stack([normal(x, self.seed, draw) for draw in draws])
            points = start + each(shares[draws], x) * (end - start)
            _, gradient = gradient_of(flat, points, objective.take(rows), wrt)
            return summed(gradient * (at(end) - at(start)) if self.multiply else gradient, rows, n)

        mean: Tensor = sum(in_chunks(self.n_samples * n, work)) / self.n_samples
        return mean

    def draws(self, m: int) -> tuple[np.ndarray, np.ndarray]:
        """For each draw, the share of the path up to its point, in [0, 1], and the index of its baseline among m."""
        # this stream differs from the streams of the noise, which have two numbers
        random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0,)))
        shares = (np.arange(self.n_samples) + random.random(self.n_samples)) / self.n_samples
        chosen = np.concatenate([random.permutation(m) for _ in range(0, self.n_samples, m)])
        return shares, chosen[: self.n_samples]

    def _distribution(self, x: Tensor) -> Tensor:
        if not isinstance(self.baselines, Tensor):
            return torch.full_like(x[:1], float(self.baselines))
        if self.baselines.shape[1:] != x.shape[1:] or len(self.baselines) < 1:
            raise NetLensError(
                f"baselines of shape {tuple(self.baselines.shape)} are no distribution of inputs; "
                f"give a number, or a tensor (m, {', '.join(map(str, x.shape[1:]))})."
            )
        return self.baselines.to(x)
