"""The table of an evaluation: the number of each method, metric and image, and what can be concluded from it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netlens.errors import NetLensError, closest
from netlens.evaluation._bootstrap import interval, told_apart
from netlens.evaluation.metrics import METRICS
from netlens.heatmaps import ResultError
from netlens.results import storage
from netlens.version import __version__

if TYPE_CHECKING:
    from netlens.show import Picture

_SEED = 0


@dataclass(frozen=True)
class Estimate:
    """The mean of a metric over images, and how sure it is.

    Attributes:
        mean: The mean over images; NaN if the metric means nothing for any of them.
        low, high: The 95 % bootstrap interval: 95 of 100 means of as many images, drawn from these with repeats, lie in
            it.
        n: The number of images.
    """

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The number of each method, metric and image.

    Attributes:
        methods: The names of the methods and of the controls.
        controls: The names of those that are controls.
        metrics: The names of the metrics.
        scores: (methods, metrics, N), float64. NaN where a metric or a method has no meaning.
        seconds: (methods,), float64: the processor time of each explanation, the mean over images; NaN for arrays.
        why: Why a score is missing: the reason by the names of method and metric, or by that of the method alone.
        provenance: What was evaluated, as plain values.
    """

    methods: tuple[str, ...]
    controls: tuple[str, ...]
    metrics: tuple[str, ...]
    scores: Tensor = field(repr=False)
    seconds: Tensor = field(repr=False)
    why: Mapping[tuple[str, ...], str] = field(default_factory=dict, repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        """The number of images."""
        return self.scores.shape[2]

    def __str__(self) -> str:
        """A line for each metric: the best method, what cannot be told apart from it, and a control that is better."""
        return "\n".join(self._line(metric) for metric in self.metrics if self.ranking(metric))

    def _line(self, metric: str) -> str:
        ranking = self.ranking(metric)
        best, *others = [name for name in ranking if name not in self.controls] or ranking
        ties = [name for name in others if not self.differ(best, name, metric)]
        direction = "more" if METRICS[metric].more_is_better else "less"
        line = f"{metric} ({direction} is better): {best} {self.of(best, metric)}"
        if len(self) > 1 and ties:
            line += f"; not told apart: {', '.join(ties)}"
        control = self.beaten(metric)
        return line + (f"; but the control {control} is better" if control and control != best else "")

    def of(self, method: str, metric: str) -> Estimate:
        """The mean of a metric for a method, with its interval."""
        values = self.scores[self._index(self.methods, method), self._index(self.metrics, metric)]
        values = values[~values.isnan()]
        if not len(values):
            return Estimate(float("nan"), float("nan"), float("nan"), 0)
        mean = float(values.mean())
        return Estimate(mean, *(interval(values, 0.95) if len(values) > 1 else (mean, mean)), len(values))

    def ranking(self, metric: str) -> tuple[str, ...]:
        """The methods, best first, without those for which the metric means nothing."""
        column = self.scores[:, self._index(self.metrics, metric)].nanmean(1)
        sign = -1 if METRICS[metric].more_is_better else 1
        order = [i for i in (sign * column).argsort(stable=True).tolist() if not column[i].isnan()]
        return tuple(self.methods[i] for i in order)

    def differ(self, a: str, b: str, metric: str) -> bool:
        """Whether two methods can be told apart: the 95% interval of the mean difference on the same images excludes 0.

        Fewer than 6 images never tell methods apart, because one being better on each of them is too likely by chance.
        """
        column = self._index(self.metrics, metric)
        one, other = (self.scores[self._index(self.methods, method), column] for method in (a, b))
        return told_apart(one - other)

    def agreement(self, metric: str) -> float:
        """Kendall's τ between the rankings that two halves of the images give, the mean over random halves.

        It is 1 if both halves give one ranking, and about 0 if the ranking is chance. NaN for fewer than 4 images.
        """
        scores = self.scores[:, self._index(self.metrics, metric)]
        scores = scores[~scores.isnan().all(1)]
        n = scores.shape[1]
        if n < 4 or len(scores) < 2:
            return float("nan")
        generator = torch.Generator().manual_seed(_SEED)
        halves = [torch.randperm(n, generator=generator) for _ in range(20)]
        agreements = [
            kendall(scores[:, one[: n // 2]].nanmean(1), scores[:, one[n // 2 :]].nanmean(1)) for one in halves
        ]
        return float(torch.tensor(agreements).nanmean())

    def beaten(self, metric: str) -> str:
        """The control that is best of all by this metric, which then says little; "" if a method is best."""
        ranking = self.ranking(metric)
        return ranking[0] if ranking and ranking[0] in self.controls else ""

    def show(self, metrics: Sequence[str] | None = None) -> Picture:
        """Draw the table: the mean of each method and metric, with its interval below.

        The stronger the color, the better the method stands by this metric. Controls are in italics. A metric by which
        a control is best of all has a † behind its name.

        Args:
            metrics: The columns; None for all.
        """
        from netlens.show import grid

        names = self.metrics if metrics is None else tuple(metrics)
        cells = [[self.of(method, metric) for metric in names] for method in self.methods]
        shades = torch.stack([self._standing(metric) for metric in names], dim=1).tolist()
        return grid(
            self.methods,
            [f"{metric} †" if self.beaten(metric) else metric for metric in names],
            [[_short(cell.mean) if cell.n else "" for cell in row] for row in cells],
            shades,
            [[f"{_short(cell.low)} to {_short(cell.high)}" if cell.n > 1 else "" for cell in r] for r in cells],
            self.controls,
        )

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]]:
        return self.show()._repr_jpeg_()

    def save(self, path: str | Path) -> Path:
        """Write a table of means and intervals (.csv), or everything (.json).

        Raises:
            ResultError: The path has another suffix, or cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in (".csv", ".json"):
            raise ResultError(f"{path} must end in .csv or .json.")
        text = self._csv() if suffix == ".csv" else json.dumps(self.plain(), indent=1)
        return storage.write(path, text.encode())

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Read a .json file that `save` wrote.

        Raises:
            ResultError: The file is missing, damaged, or holds no evaluation.
        """
        data = storage.read_json(path)
        with storage.readable(path):
            return cls.from_plain(data)

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Evaluation:
        """The evaluation that `plain` has written out."""
        return cls(
            methods=tuple(data["methods"]),
            controls=tuple(data["controls"]),
            metrics=tuple(data["metrics"]),
            scores=_numbers(data["scores"]).view(len(data["methods"]), len(data["metrics"]), -1),
            seconds=_numbers(data["seconds"]),
            why={tuple(names): reason for *names, reason in data["why"]},
            provenance=data["provenance"],
        )

    def plain(self) -> dict[str, Any]:
        """Everything as values of JSON."""
        return {
            "netlens": __version__,
            "methods": self.methods,
            "controls": self.controls,
            "metrics": self.metrics,
            "scores": _texts(self.scores),
            "seconds": _texts(self.seconds),
            "why": [[*names, reason] for names, reason in self.why.items()],
            "provenance": dict(self.provenance),
        }

    def _csv(self) -> str:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["method", "control", "metric", "mean", "low", "high", "images", "reason"])
        for method in self.methods:
            for metric in self.metrics:
                one = self.of(method, metric)
                reason = self.why.get((method, metric), self.why.get((method,), ""))
                row = [method, method in self.controls, metric, one.mean, one.low, one.high, one.n, reason]
                writer.writerow(row)
        return buffer.getvalue()

    def _standing(self, metric: str) -> Tensor:
        """(methods,): the share of the other methods that a method is better than; equal ones count half."""
        column = self.scores[:, self._index(self.metrics, metric)].nanmean(1)
        column = column if METRICS[metric].more_is_better else -column
        has_score = ~column.isnan()
        below = ((column[:, None] > column).double() + (column[:, None] == column).double() / 2)[:, has_score].sum(
            1
        ) - 0.5
        return torch.where(has_score, below / max(1, int(has_score.sum()) - 1), torch.nan)

    @staticmethod
    def _index(names: Sequence[str], name: str) -> int:
        if name not in names:
            raise NetLensError(f"the evaluation has no {name!r}. Closest: {closest(name, names)}.")
        return names.index(name)


def kendall(a: Tensor, b: Tensor) -> float:
    """Kendall's τ-b of two rows of numbers: 1 if they have the same order, -1 if the opposite one.

    >>> kendall(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])) == 1 / 3
    True
    """
    first, second = torch.triu_indices(len(a), len(a), offset=1)
    of_a, of_b = (values[first] - values[second] for values in (a.double(), b.double()))
    of_a, of_b = of_a.sign(), of_b.sign()
    pairs = (of_a.square().sum() * of_b.square().sum()).sqrt()
    return float((of_a * of_b).sum() / pairs)


def _short(value: float) -> str:
    """A number in few letters. Numbers of one size have the same decimals, so that they can be compared at a glance.

    >>> _short(0.1), _short(-0.5), _short(12.34), _short(6800.05)
    ('0.100', '−0.500', '12.3', '6800')
    """
    decimals = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{decimals}f}".replace("-", "−")


def _texts(values: Tensor) -> list[float | None]:
    """The numbers for JSON, which has no NaN."""
    return [None if value != value else value for value in values.flatten().tolist()]


def _numbers(values: Sequence[float | None]) -> Tensor:
    return torch.tensor([float("nan") if value is None else value for value in values], dtype=torch.float64)
