"""A recommendation: the best method and its options for a network and some images, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netlens.attribution import Attribution, Method
from netlens.attribution.method import method_from
from netlens.evaluation._table import Estimate, Evaluation
from netlens.evaluation.metrics import METRICS
from netlens.evaluation.recommendation._contestants import options_that_differ
from netlens.evaluation.recommendation._race import Round
from netlens.heatmaps import ResultError
from netlens.results import storage

if TYPE_CHECKING:
    from netlens.show import Picture

FEW = 8
"""On fewer images, little can be told apart."""


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The best method and its options for a network and some images, by one metric.

    Attributes:
        network: The name of the network.
        metric: The metric that decided.
        text: The method with its options as the command line takes it, such as `occlusion:window=16`.
        rounds: What happened in the race.
        ties: The methods that cannot be told apart from the best one: the 95 % interval of the mean difference on the
            same images holds 0.
        wins: For each method that was judged on all images, the share of bootstrap draws of the images in which it is
            the best.
        agreement: Kendall's τ between the rankings of all contestants by two halves of the images that all of them were
            judged on; NaN for fewer than 4 images.
        table: The best few methods and the controls by all metrics, side by side.
        race: All contestants by the metric that decided; NaN on images that they did not reach.
        provenance: What was asked, as plain values.
        explainer: The best method itself, which `NetLens.attribute` takes.
        maps: The maps of the best few and of the best control on some images; empty if it comes from a file.
    """

    network: str
    metric: str
    text: str
    rounds: tuple[Round, ...] = field(repr=False)
    ties: tuple[str, ...] = field(repr=False)
    wins: Mapping[str, float] = field(repr=False)
    agreement: float = field(repr=False)
    table: Evaluation = field(repr=False)
    race: Evaluation = field(repr=False)
    explainer: Method = field(repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    maps: Sequence[Attribution] = field(default=(), repr=False)

    @property
    def method(self) -> str:
        """The registered name of the best method."""
        return self.text.partition(":")[0]

    @property
    def options(self) -> dict[str, Any]:
        """The options of the best method that are not at their defaults."""
        return options_that_differ(self.explainer)

    @property
    def estimate(self) -> Estimate:
        """The mean of the metric for the best method, with its 95 % interval."""
        return self.race.of(self.text, self.metric)

    @property
    def beaten(self) -> str:
        """The control that is better than the best method, though it knows nothing of the network; "" if none is."""
        return self.table.beaten(self.metric)

    @property
    def doubtful(self) -> tuple[str, ...]:
        """The controls that cannot be told apart from the best method, or are better."""
        best = self.race.of(self.text, self.metric).mean
        return tuple(
            name
            for name in self.table.controls
            if not self.table.differ(self.text, name, self.metric) or self._better(self.metric, name, best)
        )

    @property
    def disagreeing(self) -> dict[str, str]:
        """For each other metric by which another method of the table is clearly better: the best one by it."""
        best = {}
        for metric in self.table.metrics:
            ranking = [name for name in self.table.ranking(metric) if name not in self.table.controls]
            if metric != self.metric and ranking and self.table.differ(ranking[0], self.text, metric):
                best[metric] = ranking[0]
        return best

    def _better(self, metric: str, name: str, than: float) -> bool:
        mean = self.table.of(name, metric).mean
        return mean > than if METRICS[metric].more_is_better else mean < than

    def __str__(self) -> str:
        """The answer in a few lines."""
        n = len(self.race)
        direction = "more" if METRICS[self.metric].more_is_better else "less"
        images = "1 image" if n == 1 else f"{n} images"
        lines = [f"{self.network}, {images}: {self.text}, by {self.metric} ({direction} is better) {self.estimate}"]
        if self.beaten:
            control = self.table.of(self.beaten, self.metric)
            lines.append(
                f"WARNING: the control {self.beaten} is better, {control}, and it knows nothing of the network. By "
                f"{self.metric}, no explanation here says more than it does."
            )
        elif self.doubtful:
            lines.append(
                f"WARNING: {', '.join(self.doubtful)} cannot be told apart from it, and knows nothing of the network."
            )
        if n > 1 and self.text in self.wins:
            halves = "" if self.agreement != self.agreement else f"; τ between halves {self.agreement:.2f}"
            lines.append(f"it is the best in {self.wins[self.text]:.0%} of the bootstrap draws of the images{halves}")
        if self.ties:
            more = f" and {len(self.ties) - 5} more" if len(self.ties) > 5 else ""
            lines.append(f"not told apart from it: {', '.join(self.ties[:5])}{more}")
        if n < FEW:
            lines.append(f"{images} cannot tell much apart; give at least {FEW}, better 30.")
        if not self.explainer.reads_objective:
            lines.append(f"{self.method} shows the same whatever the class is; it says what the network looks at.")
        for metric, best in self.disagreeing.items():
            mine, other = (self.table.of(name, metric) for name in (self.text, best))
            lines.append(f"{metric} disagrees: {best} {other}, and {self.text} {mine}")
        for metric in self.table.metrics:
            if metric != self.metric and (rival := self.table.beaten(metric)):
                lines.append(f"by {metric}, the control {rival} is best, so that {metric} says little here")
        return "\n".join(lines)

    def show(self) -> Picture:
        """Draw the answer: intervals of all contestants, the best few by all metrics, and their maps."""
        from netlens.evaluation.recommendation._drawing import drawn

        return drawn(str(self).split("\n"), self.race, self.text, self.ties, self.table, self.maps)

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]]:
        return self.show()._repr_jpeg_()

    def save(self, path: str | Path) -> Path:
        """Write the picture (.png), or everything except the maps (.json). Both hold the provenance.

        Raises:
            ResultError: The path has another suffix, or cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".json":
            return storage.write(path, json.dumps(self._plain(), indent=1).encode())
        if suffix == ".png":
            return storage.write(
                path, self.show().png({"recommendation": self.text, "provenance": self._plain_provenance()})
            )
        raise ResultError(f"{path} must end in .json or .png.")

    @classmethod
    def load(cls, path: str | Path) -> Recommendation:
        """Read a .json file that `save` wrote.

        Raises:
            ResultError: The file is missing, damaged, or holds no recommendation.
        """
        data = storage.read_json(path)
        with storage.readable(path):
            rounds = tuple(Round(**{**one, "contestants": tuple(one["contestants"])}) for one in data["rounds"])
            return cls(
                network=data["network"],
                metric=data["metric"],
                text=data["text"],
                rounds=rounds,
                ties=tuple(data["ties"]),
                wins=data["wins"],
                agreement=float("nan") if data["agreement"] is None else data["agreement"],
                table=Evaluation.from_plain(data["table"]),
                race=Evaluation.from_plain(data["race"]),
                provenance=data["provenance"],
                explainer=method_from(data["text"]),
            )

    def _plain_provenance(self) -> dict[str, Any]:
        return json.loads(json.dumps(dict(self.provenance), default=repr))  # type: ignore[no-any-return]

    def _plain(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "method": self.method,
            "options": json.loads(json.dumps(self.options, default=repr)),
            "network": self.network,
            "metric": self.metric,
            "estimate": asdict(self.estimate),
            "control that is better": self.beaten,
            "ties": self.ties,
            "wins": dict(self.wins),
            "agreement": None if self.agreement != self.agreement else self.agreement,
            "disagreeing": self.disagreeing,
            "summary": str(self).split("\n"),
            "rounds": [{**asdict(one), "left": dict(one.left)} for one in self.rounds],
            "table": self.table.plain(),
            "race": self.race.plain(),
            "provenance": self._plain_provenance(),
        }
