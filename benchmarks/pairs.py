"""Timings of several works in turn, so that a disturbance of the machine affects all of them."""

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
    """The seconds of each work in each round. A first round does not count. Each round starts with another work.

    Args:
        works: The works by name.
        rounds: The largest number of rounds.
        budget: The seconds for all rounds. If not even one round fits, the first round counts.
        check: A function that gets the results of the first round.
    """
    first_answers = {name: timed(work) for name, work in works.items()}
    check({name: answer for name, (_, answer) in first_answers.items()})
    first_times = {name: [time] for name, (time, _) in first_answers.items()}
    rounds = int(min(rounds, budget / sum(times[0] for times in first_times.values())))
    if rounds < 1:
        return first_times
    names = list(works)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(seconds(works[name]))
    return times


def ratio(a: list[float], b: list[float]) -> float:
    """The median over rounds of the ratio a / b."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))
