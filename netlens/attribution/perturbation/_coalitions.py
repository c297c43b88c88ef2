"""An objective as a function of the features of a sample that are on. Ablation, Shapley values and LIME share it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._suffix import Suffix
from netlens.attribution.baseline import Baseline, baseline_like
from netlens.attribution.perturbation._masks import default_mask, numbered
from netlens.flat import FlatModel
from netlens.objectives import Objective


@dataclass(frozen=True)
class Coalitions:
    """The objective f of n samples in which some features are on and the others are at the baseline.

    A coalition is the set of features that are on: a boolean vector with one entry per feature of the sample.
    """

    suffix: Suffix
    activation: Tensor  # (n, ...)
    baseline: Tensor  # (n, ...)
    mask: Tensor  # (n, ...), broadcasts to `activation`: the feature, from 0, of each entry
    counts: tuple[int, ...]  # the number of features of each sample

    @classmethod
    def of(
        cls,
        flat: FlatModel,
        x: Tensor,
        objective: Objective,
        wrt: str,
        feature_mask: Tensor | None = None,
        n_segments: int = 50,
        baselines: Baseline = 0.0,
    ) -> Coalitions:
        """Run the network on x up to `wrt`, once. The mask, or a default one, divides the activation into features."""
        suffix = Suffix.of(flat, x, objective, wrt, many=True)
        activation = suffix.activation
        mask = default_mask(flat, wrt, activation, n_segments) if feature_mask is None else feature_mask
        baseline = baseline_like(flat, wrt, activation, baselines)
        return cls(suffix, activation, baseline, *numbered(mask, activation))

    def value(self, rows: Sequence[int], on: Sequence[Tensor]) -> Tensor:
        """(rows,): f of these samples, each with the features of its coalition on."""
        keep = [coalition[mask] for coalition, mask in zip(on, self.mask[list(rows)], strict=True)]
        return self.suffix.value(rows, torch.where(torch.stack(keep), self.activation[rows], self.baseline[rows]))

    def play(
        self, sizes: Sequence[int], coalition: Callable[[int, int], Tensor]
    ) -> Iterator[tuple[int, int, Tensor, float]]:
        """Evaluate `coalition(number of features, index)` for the first `sizes[sample]` indices of each sample.

        Yields (sample, index, coalition, value) one by one, in order. Memory holds one chunk at a time.
        """
        ends = list(accumulate(sizes))

        def work(first: int, last: int) -> list[tuple[int, int, Tensor, float]]:
            rows = [bisect_right(ends, job) for job in range(first, last)]
            indices = [job - ends[row] + sizes[row] for job, row in zip(range(first, last), rows, strict=True)]
            on = [coalition(self.counts[row], index) for row, index in zip(rows, indices, strict=True)]
            values = self.value(rows, [members.to(self.activation.device) for members in on]).tolist()
            return list(zip(rows, indices, on, values, strict=True))

        for results in in_chunks(ends[-1], work):
            yield from results

    def uniform(self, on: bool) -> list[float]:
        """f of each sample with all its features on, or with all of them off."""
        return [value for *_, value in self.play([1] * len(self.counts), lambda count, _: torch.full((count,), on))]

    def spread(self, scores: Sequence[Tensor]) -> Tensor:
        """Values in the shape of the activation, from one score per feature for each sample."""
        values = [score.to(self.activation)[mask] for score, mask in zip(scores, self.mask, strict=True)]
        return torch.stack(values).expand_as(self.activation).contiguous()
