"""DeepLIFT: the change from a baseline to the input, carried back through every layer by the slope of that change."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from netlens.attribution.baseline import baseline_like
from netlens.attribution.engine import evaluated, per_sample, recorded
from netlens.attribution.method import Method, register
from netlens.attribution.path.rows import rows_of, summed
from netlens.errors import NetLensError, NetLensWarning
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.flat.model import OUTPUT
from netlens.objectives import Objective, Record
from netlens.rules.rescale import Rescale

MISSED = 1e-6
"""Of the change of the objective: what a layer may keep without a warning."""


@register
@dataclass(frozen=True, eq=False)
class DeepLift(Method):
    """What each value contributes to the change of the objective from a baseline to the input, by the rescale rule.

    Complete on any differentiable network, but for rounding: the values sum to f(x) - f(baseline), and what is missing,
    `diagnostics["completeness_gap"]`, is given per sample in the objective's units. A layer that nothing is known of
    has its gradient averaged on the way from the baseline to the input, until less than 1e-9 of its change is missed;
    of a way with many kinks, at most 1% is left, and is shared in proportion to the changes. A gap remains where the
    objective is not linear in what it reads, and behind layers that jump: integers, masks and indices made of the
    input. A warning names these layers, with their share of the change. With respect to a layer, the values are its
    multipliers times the change of its activation; where other paths lead past the layer, these are its part of the
    change, and no gap is given. `multiply=False` gives the multipliers instead.

    Shrikumar et al. 2017, https://arxiv.org/abs/1704.02685
    """

    baselines: float | Tensor = 0.0
    multiply: bool = True
    chunk: int | None = None
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        baseline, missed = baseline_like(x, self.baselines), Missed()

        def work(first: int, last: int) -> tuple[Tensor, Tensor]:
            own = objective.take(range(first, last))
            return contributions(flat, x[first:last], baseline[first:last], own, wrt, self.multiply, missed)

        values, gaps = zip(*in_chunks(len(x), self.chunk, work), strict=True)
        missed.warn(flat.name)
        return torch.cat(values), _diagnostics(flat, objective, wrt, torch.cat(gaps))


@register
@dataclass(frozen=True, eq=False)
class DeepLiftShap(Method):
    """The mean of `DeepLift` over a distribution of baselines, which approximates Shapley values.

    baselines: a tensor (m, ...) of inputs, ideally drawn from the data that the network was trained on. By default
    `n_samples` copies of each sample itself with its positions shuffled, in the same way for all channels and samples:
    the colors of the image without what it depicts. The values sum to f(x) minus the mean of f over the baselines, up
    to `diagnostics["completeness_gap"]`.

    Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874
    """

    baselines: Tensor | None = None
    n_samples: int = 5
    seed: int = 0
    multiply: bool = True
    chunk: int | None = None
    distributions = ("baselines",)
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        n, m, missed = len(x), self._number(x), Missed()

        def work(first: int, last: int) -> tuple[Tensor, Tensor]:
            rows, draws = rows_of(first, last, n)
            baseline = self._drawn(x[rows], draws)
            values, gap = contributions(flat, x[rows], baseline, objective.take(rows), wrt, self.multiply, missed)
            return summed(values, rows, n), summed(gap, rows, n)

        values, gaps = zip(*in_chunks(m * n, self.chunk, work), strict=True)
        missed.warn(flat.name)
        return sum(values) / m, _diagnostics(flat, objective, wrt, sum(gaps) / m)

    def _number(self, x: Tensor) -> int:
        """Of how many baselines the mean is taken."""
        if self.baselines is None:
            if not isinstance(self.n_samples, Integral) or self.n_samples < 1:
                raise NetLensError(f"n_samples must be a whole number of at least 1, not {self.n_samples!r}.")
            return self.n_samples
        if not isinstance(self.baselines, Tensor) or self.baselines.shape[1:] != x.shape[1:] or len(self.baselines) < 1:
            given = self.baselines
            got = f"of shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"of type {type(given).__name__}"
            wanted = ", ".join(map(str, x.shape[1:]))
            raise NetLensError(f"baselines {got} are no distribution of inputs; give a tensor (m, {wanted}).")
        return len(self.baselines)

    def _drawn(self, rows: Tensor, draws: Sequence[int]) -> Tensor:
        """For each row of inputs, the baseline of that number."""
        if self.baselines is not None:
            return self.baselines.to(rows)[draws]
        places = rows.flatten(2) if rows.ndim > 2 else rows[:, None]
        orders = {draw: self._order(draw, places.shape[2]) for draw in set(draws)}
        shuffled = torch.stack([row[:, orders[draw]] for row, draw in zip(places, draws, strict=True)])
        return shuffled.view(rows.shape)

    def _order(self, draw: int, places: int) -> np.ndarray:
        return np.random.default_rng(np.random.SeedSequence((self.seed, draw))).permutation(places)


class Missed:
    """What layers that are not differentiable keep of the change, over several runs; said once, at the end."""

    def __init__(self) -> None:
        self.by_layer: dict[str, float] = {}
        self.unknown: dict[str, None] = {}
        self.change = 0.0

    def of_layer(self, key: str, gap: Tensor | None, n: int) -> None:
        """One layer's gap: by row, or of all that a layer holds; None where its change is unknown."""
        if gap is None:
            self.unknown[key] = None
            return
        rows = gap.view(n, -1).sum(1) if len(gap) % n == 0 else gap.sum()
        self.by_layer[key] = self.by_layer.get(key, 0.0) + float(rows.abs().sum())

    def warn(self, name: str) -> None:
        """Name the layers, and the share of the change of the objective that stays with each."""
        kept = {key: gap for key, gap in self.by_layer.items() if gap > MISSED * self.change}
        parts = [
            f"{key!r} ({_share(gap, self.change)})" for key, gap in sorted(kept.items(), key=lambda item: -item[1])
        ]
        parts += [f"{key!r} (unknown: it has another shape on the baseline)" for key in self.unknown]
        if parts:
            warnings.warn(
                f"DeepLIFT of {name} misses what changes in jumps without slope: {', '.join(parts)}, each beside the "
                "whole change of the objective.",
                NetLensWarning,
                stacklevel=2,
            )


def _share(gap: float, change: float) -> str:
    return f"{gap / change:.2%}" if change > 0 else f"{gap:.2g} beside no change"


def contributions(
    flat: FlatModel,
    x: Tensor,
    baseline: Tensor,
    objective: Objective,
    wrt: str,
    multiply: bool = True,
    missed: Missed | None = None,
) -> tuple[Tensor, Tensor]:
    """DeepLIFT's values at `wrt` of x (n, ...) against baselines of its shape, and by how much each sum fails (n,).

    missed: where to note what layers without a slope keep of the change.
    """
    n, wanted = len(x), flat.keys_of(objective.layers)
    plan = Rescale.of(flat, wanted, wrt)
    reference = flat.run({flat.inputs[0]: baseline}, list(dict.fromkeys((*plan.reads, *wanted, wrt))))
    note = None if missed is None else (lambda key, gap: missed.of_layer(key, gap, n))
    run = recorded(plan.view(flat, reference, note), x, objective, [wrt])
    multipliers = run.gradients[wrt]
    values = multipliers * (per_sample(wrt, run.activations[wrt], n) - per_sample(wrt, reference[wrt], n))
    assert run.value is not None
    change = run.value - evaluated(objective, Record(flat, reference), n)
    if missed is not None:
        missed.change += float(change.abs().sum())
    return (values if multiply else multipliers), values.flatten(1).sum(1) - change


def _diagnostics(flat: FlatModel, objective: Objective, wrt: str, gap: Tensor) -> dict[str, Tensor]:
    """The gap, where all that the objective reads comes through `wrt` and nothing past it."""
    after = flat.program.reached([wrt])
    if not after.isdisjoint(flat.program.outputs):
        after.add(OUTPUT)
    alone = set(flat.frontier(wrt)) <= {wrt} and after.issuperset(flat.keys_of(objective.layers))
    return {"completeness_gap": gap} if alone else {}
