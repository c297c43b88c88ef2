"""A race: contestants are judged on more and more images, and those that are worse than the leader leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.evaluation._bootstrap import interval
from netlens.evaluation.recommendation._contestants import Contestant

LEVEL = 0.99
"""A contestant leaves if the interval of this level says that the leader is better."""
FIRST = 8
"""Nobody leaves on fewer images: if the leader is better on each of n, that is chance once in 2 ** (n - 1) times."""

Judge = Callable[[Contestant, Sequence[int]], "Tensor | str"]
"""It gets a contestant and some images, and gives their scores, or why there are none."""


@dataclass(frozen=True)
class Round:
    """What happened while contestants were judged on the same images.

    Attributes:
        stage: What the race was about: methods, slow methods, or the options of a method.
        images: On how many images they were compared.
        contestants: Their names, best first.
        left: Those that left, and why.
        scores: How many scores this round needed: one for each contestant and image that was new.
    """

    stage: str
    images: int
    contestants: tuple[str, ...]
    left: Mapping[str, str]
    scores: int

    def __str__(self) -> str:
        n = len(self.contestants)
        text = f"{self.stage}, {self.images} images: {n} in the race, {self.contestants[0] if n else 'nobody'} leads"
        return f"{text}; {len(self.left)} left" if self.left else text


class Race:
    """Final: the scores of all contestants so far, on images in a random order.

    Args:
        judge: Gives the scores.
        n: The number of images.
        more_is_better: The direction of the scores.
        seed: The seed of the order of the images.
        first: The number of images of the first round.
        level: The level of the interval by which contestants leave.
    """

    def __init__(
        self, judge: Judge, n: int, more_is_better: bool, seed: int = 0, first: int = FIRST, level: float = LEVEL
    ) -> None:
        self.judge, self.n, self.sign = judge, n, 1.0 if more_is_better else -1.0
        self.first, self.level = first, level
        # pictures of a folder lie class by class, so that the first few would show one class
        self.order: list[int] = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
        self.everyone: dict[str, Contestant] = {}
        self.scores: dict[str, Tensor] = {}
        self.judged: dict[str, int] = {}  # on how many images of the order
        self.why: dict[str, str] = {}
        self.rounds: list[Round] = []

    def run(self, stage: str, entering: Iterable[Contestant], staying: Iterable[Contestant] = ()) -> list[Contestant]:
        """Let contestants race over all images. Who cannot win leaves.

        Args:
            stage: What to call it.
            entering: The contestants that are new.
            staying: Those of an earlier stage, which have been judged on all images.

        Returns:
            Those that were judged on all images, best first.
        """
        racing = [*staying, *entering]
        for count in self._counts(self.first):
            racing, scores = self._judged(racing, count)
            left = {} if count < self.first else self._worse(racing, count)
            self._tell(stage, count, racing, left, scores)
            racing = [one for one in racing if one.name not in left]
        return racing

    def halve(self, stage: str, entering: Iterable[Contestant], leader: Contestant) -> list[Contestant]:
        """Let options race: the worse half leaves each time that the number of images doubles.

        From the first round of methods on, those leave as well that are worse than the leader.

        Args:
            stage: What to call it.
            entering: A method with several options.
            leader: The best method so far, which has been judged on all images.

        Returns:
            Those that were judged on all images, best first.
        """
        racing = list(entering)
        for count in self._counts(max(2, self.first // 2)):
            if not racing:
                break
            racing, scores = self._judged(racing, count)
            better = racing[: -(-len(racing) // 2)] if count < self.n else racing
            left = {} if count < self.first else self._worse(better, count, leader)
            left |= {one.name: "in the worse half" for one in racing if one not in better}
            self._tell(stage, count, racing, left, scores)
            racing = [one for one in racing if one.name not in left]
        return racing

    def finish(self, contestants: Iterable[Contestant]) -> None:
        """Judge contestants on all images, also if they have left."""
        self._judged(list(contestants), self.n)

    def shared(self) -> list[int]:
        """The images that everyone was judged on."""
        counts = [count for name, count in self.judged.items() if name not in self.why]
        return self.order[: min(counts, default=0)]

    def signed(self, one: Contestant, count: int | None = None) -> Tensor:
        """(count,): the scores on the first images of the order, with a sign by which more is better."""
        rows = self.order if count is None else self.order[:count]
        return self.sign * self.scores[one.name][rows]

    def ranked(self, contestants: Iterable[Contestant], count: int | None = None) -> list[Contestant]:
        """Contestants that were judged on the first images, or on all, best first. Equal ones stay in their order."""
        return self._ranked(list(contestants), self.n if count is None else count)

    def _tell(self, stage: str, count: int, racing: Sequence[Contestant], left: Mapping[str, str], scores: int) -> None:
        if scores or left:  # else all of this was known
            self.rounds.append(Round(stage, count, tuple(one.name for one in racing), left, scores))

    def _counts(self, first: int) -> list[int]:
        """How many images each round compares: twice as many each time."""
        counts = []
        while first < self.n:
            counts.append(first)
            first *= 2
        return [*counts, self.n]

    def _judged(self, racing: Sequence[Contestant], count: int) -> tuple[list[Contestant], int]:
        """The contestants that have scores on the first images, best first, and how many scores were new."""
        able, scores = [], 0
        for one in racing:
            self.everyone[one.name] = one
            mine = self.scores.setdefault(one.name, torch.full((self.n,), torch.nan, dtype=torch.float64))
            rows = self.order[self.judged.get(one.name, 0) : count]
            if rows and one.name not in self.why:
                answer = self.judge(one, rows)
                if isinstance(answer, str):
                    self.why[one.name] = answer
                else:
                    mine[rows] = answer
                    self.judged[one.name] = count
                    scores += len(rows)
            if one.name not in self.why and not mine[self.order[:count]].isnan().all():
                able.append(one)
        return self._ranked(able, count), scores

    def _ranked(self, contestants: list[Contestant], count: int) -> list[Contestant]:
        return sorted(contestants, key=lambda one: -float(self.signed(one, count).nanmean()))

    def _worse(self, racing: Sequence[Contestant], count: int, leader: Contestant | None = None) -> dict[str, str]:
        """Those that are worse than the best method, and by how much. A control never makes a method leave."""
        left: dict[str, str] = {}
        leader = next((one for one in racing if not one.is_control), None) if leader is None else leader
        if leader is None:
            return left
        for one in racing:
            differences = self.signed(leader, count) - self.signed(one, count)
            low, high = interval(differences[~differences.isnan()], self.level)
            if low > 0:
                left[one.name] = f"{leader.name} is better by {low:.3g} to {high:.3g}"
        return left
