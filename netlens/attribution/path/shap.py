"""Expected gradients: integrated gradients over many baselines at once, by sampling."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from netlens.attribution.engine import gradient_of, per_sample
from netlens.attribution.method import Method, register
from netlens.attribution.noise import normal, spans
from netlens.attribution.path.rows import each, rows_of, summed
from netlens.errors import NetLensError
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.objectives import Objective


@register
@dataclass(frozen=True, eq=False)
class GradientShap(Method):
    """The gradient at random places between baselines and the input, times their difference: expected gradients.

    baselines: one number, or a distribution (m, ...) of inputs, of which each draw takes one. noise_level: the standard
    deviation of noise on the input, as a fraction of each sample's range (max - min). With respect to a layer, the
    gradient and the difference are those of the layer. `multiply=False` gives the mean gradient instead.

    In expectation the values sum to f(x) minus the mean of f over the baselines. All samples of a batch see the same
    draws. The draws are stratified: one place in each of `n_samples` equal parts of the path, and each of m baselines
    once in m neighboring places, which leaves the expectation as it is and lowers the variance.

    Erion et al. 2019, https://arxiv.org/abs/1906.10670; Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874
    """

    n_samples: int = 50
    baselines: float | Tensor = 0.0
    noise_level: float = 0.0
    seed: int = 0
    multiply: bool = True
    chunk: int | None = None
    distributions = ("baselines",)
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        baselines, n = self._distribution(x), len(x)
        places, chosen = self.draws(len(baselines))
        scale = self.noise_level * spans(x)

        def at(points: Tensor) -> Tensor:
            return points if wrt in flat.inputs else per_sample(wrt, flat.record(points, layers=wrt)[wrt], len(points))

        def work(first: int, last: int) -> Tensor:
            rows, draws = rows_of(first, last, n)
            start, end = baselines[chosen[draws]], x[rows]
            if self.noise_level > 0:
                end = end + scale[rows] * torch.stack([normal(x, self.seed, draw) for draw in draws])
            points = start + each(places[draws], x) * (end - start)
            _, gradient = gradient_of(flat, points, objective.take(rows), wrt)
            return summed(gradient * (at(end) - at(start)) if self.multiply else gradient, rows, n)

        return sum(in_chunks(self.n_samples * n, self.chunk, work)) / self.n_samples

    def draws(self, m: int) -> tuple[np.ndarray, np.ndarray]:
        """For each draw its place on the path in [0, 1], and which of m baselines it starts from."""
        if not isinstance(self.n_samples, Integral) or self.n_samples < 1 or self.noise_level < 0:
            raise NetLensError("n_samples must be a whole number of at least 1, and noise_level at least 0.")
        # a stream of its own, apart from those of the noise, which have two numbers
        random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0,)))
        places = (np.arange(self.n_samples) + random.random(self.n_samples)) / self.n_samples
        chosen = np.concatenate([random.permutation(m) for _ in range(0, self.n_samples, m)])
        return places, chosen[: self.n_samples]

    def _distribution(self, x: Tensor) -> Tensor:
        if not isinstance(self.baselines, Tensor):
            return torch.full_like(x[:1], float(self.baselines))
        if self.baselines.shape[1:] != x.shape[1:] or len(self.baselines) < 1:
            raise NetLensError(
                f"baselines of shape {tuple(self.baselines.shape)} are no distribution of inputs; "
                f"give a number, or a tensor (m, {', '.join(map(str, x.shape[1:]))})."
            )
        return self.baselines.to(x)
