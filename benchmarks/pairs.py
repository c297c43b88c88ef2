"""Works that are timed side by side: in turn, in one run, so that what slows the machine slows them all."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.apart import Apart

Work = Callable[[], Any] | Apart


def seconds(work: Work) -> float:
    return timed(work)[0]


def timed(work: Work) -> tuple[float, Any]:
    """The seconds that a work takes, and what it returns."""
    if isinstance(work, Apart):
        return work.timed()
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer


def in_turn(
    works: Mapping[str, Work],
    rounds: int,
    budget: float = math.inf,
    check: Callable[[Mapping[str, Any]], None] = lambda answers: None,
) -> dict[str, list[float]]:
    """The seconds of each work in each round, after one that does not count; each round starts with another work.

    budget: seconds, in which as many rounds are made as fit. Where not even one does, the first counts.
    check: is given what each work returned the first time, before the others are timed.
    """
    runs = {name: timed(work) for name, work in works.items()}
    check({name: answer for name, (_, answer) in runs.items()})
    first = {name: [time] for name, (time, _) in runs.items()}
    rounds = int(min(rounds, budget / sum(times[0] for times in first.values())))
    if rounds < 1:
        return first
    names = list(works)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(seconds(works[name]))
    return times


def ratio(ones: list[float], others: list[float]) -> float:
    """How many times as long the first took: the median over rounds of the ratio within a round."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))
