"""DeepLIFT: the change from a baseline to the input, carried back through each layer by the slope of its change."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netlens.attribution._backward import evaluated
from netlens.attribution._chunk import in_chunks
from netlens.attribution._rows import per_sample
from netlens.attribution.baseline import BASELINES, Baseline, input_baseline
from netlens.attribution.engine import forward_and_backward
from netlens.attribution.method import Method, register
from netlens.attribution.path.rows import rows_of, summed
from netlens.errors import NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.flat.bundle import input_of, with_input
from netlens.flat.keys import OUTPUT
from netlens.flat.opacity import about_opaque
from netlens.objectives import Objective, Record
from netlens.options import option
from netlens.rules.rescale import Rescale

MISSED = 1e-6
"""The share of the change of the objective that a layer may lose without a warning."""
INCOMPLETE = 1e-3
"""The share of the change of the objective that the values may miss in all without a warning; more in half precision,
whose numbers have few digits."""


@register
@dataclass(frozen=True, eq=False)
class DeepLift(Method):
    """The contribution of each value to the change of the objective from a baseline to the input (rescale rule).

    `values` are (x - baseline) * multiplier. They have the shape of `wrt` and the unit of the objective f.
    `multiply=False` gives the multipliers. A layer multiplies them by change of output / change of input instead of
    its derivative.

    On a differentiable network, the values are complete up to rounding: they sum to f(x) - f(baseline).
    `diagnostics["completeness_gap"]` (N,) is their sum less this change, in the unit of f. A gap remains if the
    objective is not linear in what it reads, and behind layers that jump: integers, masks and indices that depend on
    the input. A warning names these layers and their share of the change, or the share that the values miss in all.

    A layer without a known rule uses its mean gradient between the baseline and the input. The mean is refined until
    less than 1e-9 of the change is missing. On a path with many kinks, at most 1% is left, and is shared in proportion
    to the changes. With respect to a layer, the values are its multipliers times the change of its activation. If other
    paths bypass the layer, they are its part of the change, and there is no gap.

    Shrikumar et al. 2017, https://arxiv.org/abs/1704.02685
    """

    baselines: Baseline = option(0.0, help=BASELINES)
    multiply: bool = option(
        True, help="Whether to multiply by the change from the baseline; else the values are the multipliers."
    )
    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        baseline, missed = input_baseline(flat, x, wrt, self.baselines), Missed()

        def work(first: int, last: int) -> tuple[Tensor, Tensor]:
            of_chunk = objective.take(range(first, last))
            return contributions(flat, x[first:last], baseline[first:last], of_chunk, wrt, self.multiply, missed)

        values, gaps = zip(*in_chunks(len(x), work), strict=True)
        diagnostics = _diagnostics(flat, objective, wrt, torch.cat(gaps))
        missed.warn(flat, diagnostics)
        return torch.cat(values), diagnostics


@register
@dataclass(frozen=True, eq=False)
class DeepLiftShap(Method):
    """The mean of `DeepLift` over a distribution of baselines, which approximates Shapley values.

    `values` have the shape of `wrt` and the unit of the objective f. They sum to f(x) minus the mean of f over the
    baselines, up to `diagnostics["completeness_gap"]` (N,). `multiply=False` gives the mean multipliers.

    `baselines` is a tensor (m, ...) of inputs, ideally from the training data of the network. None takes `n_samples`
    copies of each sample with shuffled positions. They keep the colors of the image, but not what it shows. All
    channels and samples share the order of the positions.

    Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874
    """

    baselines: Tensor | None = option(
        None, help="A tensor (m, ...) of inputs; none for the sample itself with its pixels shuffled."
    )
    n_samples: int = option(5, least=1, help="Shuffled copies of each sample, if there are no baselines.")
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    multiply: bool = option(
        True, help="Whether to multiply by the change from the baseline; else the values are the multipliers."
    )
    distributions = ("baselines",)
    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        n, m, missed = len(x), self._number(input_of(flat, x, wrt)), Missed()

        def work(first: int, last: int) -> tuple[Tensor, Tensor]:
            rows, draws = rows_of(first, last, n)
            samples = x[rows]
            baseline = with_input(flat, samples, wrt, self._baselines_of(input_of(flat, samples, wrt), draws))
            values, gap = contributions(flat, samples, baseline, objective.take(rows), wrt, self.multiply, missed)
            return summed(values, rows, n), summed(gap, rows, n)

        values, gaps = zip(*in_chunks(m * n, work), strict=True)
        diagnostics = _diagnostics(flat, objective, wrt, sum(gaps) / m)
        missed.warn(flat, diagnostics, m)
        return sum(values) / m, diagnostics

    def _number(self, x: Tensor) -> int:
        """The number of baselines."""
        baselines = self.baselines
        if baselines is None:
            return self.n_samples
        if not isinstance(baselines, Tensor) or baselines.shape[1:] != x.shape[1:] or len(baselines) < 1:
            is_tensor = isinstance(baselines, Tensor)
            kind = f"of shape {tuple(baselines.shape)}" if is_tensor else f"of type {type(baselines).__name__}"
            sizes = ", ".join(map(str, x.shape[1:]))
            raise NetLensError(f"baselines {kind} are no distribution of inputs; give a tensor (m, {sizes}).")
        return len(baselines)

    def _baselines_of(self, rows: Tensor, draws: Sequence[int]) -> Tensor:
        """For each row of inputs, the baseline of its draw."""
        if self.baselines is not None:
            return self.baselines.to(rows)[draws]
        places = rows.flatten(2) if rows.ndim > 2 else rows[:, None]
        orders = {draw: self._order(draw, places.shape[2]) for draw in set(draws)}
        shuffled = torch.stack([row[:, orders[draw]] for row, draw in zip(places, draws, strict=True)])
        return shuffled.view(rows.shape)

    def _order(self, draw: int, places: int) -> np.ndarray:
        return np.random.default_rng(np.random.SeedSequence((self.seed, draw))).permutation(places)


class Missed:
    """Final: the change that layers without a derivative lose, over several runs. One warning at the end reports it."""

    def __init__(self) -> None:
        self.by_layer: dict[str, float] = {}
        self.unknown: dict[str, None] = {}
        self.change = 0.0
        self.dtype = torch.float64  # the least exact type of the values

    def of_layer(self, key: str, gap: Tensor | None, n: int) -> None:
        """Add the gap of a layer: one number per row, or one for all rows; None if its change is unknown."""
        if gap is None:
            self.unknown[key] = None
            return
        rows = gap.view(n, -1).sum(1) if len(gap) % n == 0 else gap.sum()
        self.by_layer[key] = self.by_layer.get(key, 0.0) + float(rows.abs().sum())

    def warn(self, flat: FlatModel, diagnostics: Mapping[str, Tensor], draws: int = 1) -> None:
        """Warn with the names of the layers, and the share of the change of the objective that each loses.

        If no layer loses any, but the values miss a part of the change, warn of that. `draws` is the number of
        baselines, whose mean the diagnostics are.
        """
        name = flat.name
        large = {key: gap for key, gap in self.by_layer.items() if gap > MISSED * self.change}
        descriptions = [
            f"{key!r} ({_share(gap, self.change)})" for key, gap in sorted(large.items(), key=lambda item: -item[1])
        ]
        descriptions += [f"{key!r} (unknown: it has another shape on the baseline)" for key in self.unknown]
        if descriptions:
            warnings.warn(
                f"DeepLIFT of {name} loses the effect of layers that change in jumps and have no slope: "
                f"{', '.join(descriptions)}. Percentages are of the change of the objective.",
                NetLensWarning,
                stacklevel=2,
            )
            return
        gap = diagnostics.get("completeness_gap")
        if gap is None or self.change == 0:
            return
        total = float(gap.abs().sum()) * draws
        # under autocast, products are rounded to a shorter type
        rounded = torch.is_autocast_enabled(gap.device.type)
        dtype = torch.get_autocast_dtype(gap.device.type) if rounded else self.dtype
        if total > max(INCOMPLETE, 8 * torch.finfo(dtype).eps) * self.change:
            opaque = about_opaque(flat, "DeepLIFT integrates over them as over one function")
            warnings.warn(
                f"DeepLIFT of {name} misses {_share(total, self.change)} of the change of the objective. It is "
                f"complete if the objective is linear in what it reads, as a logit is.{opaque}",
                NetLensWarning,
                stacklevel=2,
            )


def _share(gap: float, change: float) -> str:
    return f"{gap / change:.2%}" if change > 0 else f"{gap:.2g}; the objective does not change"


def contributions(
    flat: FlatModel,
    x: Tensor,
    baseline: Tensor,
    objective: Objective,
    wrt: str,
    multiply: bool = True,
    missed: Missed | None = None,
) -> tuple[Tensor, Tensor]:
    """The values of DeepLIFT at `wrt` for x (n, ...) and baselines of its shape, and the completeness gap (n,).

    `missed` collects the changes of layers that have no derivative, so their effect is lost.
    """
    n, fetches = len(x), flat.keys_of(objective.layers)
    plan = Rescale.of(flat, fetches, wrt)
    reference = flat.run({flat.inputs[0]: baseline}, list(dict.fromkeys((*plan.reads, *fetches, wrt))))
    record_gap = None if missed is None else (lambda key, gap: missed.of_layer(key, gap, n))
    run = forward_and_backward(plan.view(flat, reference, record_gap), x, objective, [wrt])
    multipliers = run.gradients[wrt]
    values = multipliers * (per_sample(wrt, run.activations[wrt], n) - per_sample(wrt, reference[wrt], n))
    assert run.values is not None
    change = run.values - evaluated(objective, Record(flat, reference), n)
    if missed is not None:
        missed.change += float(change.abs().sum())
        missed.dtype = x.dtype
    return (values if multiply else multipliers), values.flatten(1).sum(1) - change


def _diagnostics(flat: FlatModel, objective: Objective, wrt: str, gap: Tensor) -> dict[str, Tensor]:
    """The completeness gap, if every path from the input to the objective passes `wrt`."""
    after = flat.program.reached([wrt])
    if not after.isdisjoint(flat.program.outputs):
        after.add(OUTPUT)
    is_cut = set(flat.frontier(wrt)) <= {wrt} and after.issuperset(flat.keys_of(objective.layers))
    return {"completeness_gap": gap} if is_cut else {}
