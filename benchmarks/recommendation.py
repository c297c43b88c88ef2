"""`python -m benchmarks.recommendation`: whether a race finds the winner of the full table, and which metric decides.

    python -m benchmarks.recommendation [--images 24] [--seeds 200] [--only race|truth]

The tables go into docs/evaluation.md. For the race, all usual cheap methods and the controls are judged on all scenes
of the bundled network. Races with many seeds then run over this table. For the metric, the rankings of the tables that
`python -m benchmarks.evaluation` wrote are compared with that of the masks.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy.stats import kendalltau
from torch import Tensor

from benchmarks.evaluation import case_of
from benchmarks.tables import read_between, write_between
from netlens.attribution import METHODS
from netlens.evaluation import METRICS, Evaluation, evaluate, interval, shown
from netlens.evaluation.metrics import Deletion, EnergyInside
from netlens.evaluation.recommendation import CHEAP, Contestant, Race, controls
from netlens.zoo import BUNDLED

PAGE = Path("docs/evaluation.md")
TRUTH = "energy_inside"


def races(table: Evaluation, metric: str, seeds: int) -> str:
    """A row: how often a race finds the winner of the full table, and how many scores it needs."""
    scores = table.scores[:, table.metrics.index(metric)]
    rivals = {one.name: one for one in controls()}
    able = [name for name in table.methods if (name,) not in table.why and (name, metric) not in table.why]
    everyone = [rivals[name] if name in rivals else Contestant(name, METHODS[name](), False) for name in able]
    best = next(name for name in table.ranking(metric) if name not in table.controls)
    same = near = scored = 0
    for seed in range(seeds):

        def judge(one: Contestant, rows: Sequence[int]) -> Tensor:
            return scores[table.methods.index(one.name)][list(rows)]

        race = Race(judge, len(table), METRICS[metric].more_is_better, seed)
        winner = next(one for one in race.run("methods", everyone) if not one.is_control)
        scored += sum(one.scores for one in race.rounds)
        difference = scores[table.methods.index(best)] - scores[table.methods.index(winner.name)]
        low, high = interval(difference[~difference.isnan()], 0.95)
        same += winner.name == best
        near += winner.name == best or low <= 0 <= high
    share = scored / (seeds * len(everyone) * len(table))
    return f"| `{metric}` | {len(everyone)} | {same / seeds:.1%} | {near / seeds:.1%} | {share:.0%} |"


def race_table(images: int, seeds: int) -> str:
    """The races of several metrics."""
    lines = ["| metric | contestants | the same winner | the same, or not told apart from it | scores needed |"]
    lines.append("|---|--:|--:|--:|--:|")
    names = {name: name for name in CHEAP}
    with shown() as show:
        table = evaluate(case_of("shapes", images), names, [EnergyInside(), Deletion(steps=8)], progress=show)
    lines += [races(table, metric, seeds) for metric in table.metrics]
    return "\n".join([*lines, "", f"{images} scenes, {seeds} orders of them."])


def truth_table() -> str:
    """Kendall's τ between the ranking of methods by each metric and by the masks, for each table of the page."""
    columns = [_column(network) for network in BUNDLED]
    lines = [f"| metric | {' | '.join(BUNDLED)} |", "|---|" + "--:|" * len(BUNDLED)]
    names = [name for name in columns[0] if name != TRUTH]
    means = {name: [_tau(column, name) for column in columns] for name in names}
    for name in sorted(names, key=lambda name: -sum(means[name])):
        lines.append(f"| `{name}` | {' | '.join(f'{tau:.2f}' for tau in means[name])} |")
    return "\n".join(lines)


def _column(network: str) -> dict[str, Tensor]:
    """The numbers of each metric in the table of a network, of the methods alone."""
    lines = [line for line in read_between(PAGE, network).splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head, body = rows[0][1:], [row for row in rows[2:] if re.match(r"[A-Z]", row[0])]
    return {
        name: torch.tensor([float(row[1 + i].strip("*") or math.nan) for row in body]) for i, name in enumerate(head)
    }


def _tau(column: dict[str, Tensor], metric: str) -> float:
    sign = 1 if METRICS[metric].more_is_better else -1
    return float(kendalltau(sign * column[metric], column[TRUTH]).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--only", choices=("race", "truth"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only in (None, "truth"):
        write_between(PAGE, "truth", truth_table())
    if options.only in (None, "race"):
        write_between(PAGE, "race", race_table(options.images, options.seeds))


if __name__ == "__main__":
    main()
