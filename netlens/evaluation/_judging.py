"""Judging: the scores of one method by several metrics, block by block, so that it can be interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netlens.attribution import Method
from netlens.attribution.mixing import mixing
from netlens.errors import NetLensWarning, NonFiniteError, NotApplicable
from netlens.evaluation._case import Case
from netlens.evaluation._explanation import Explanation
from netlens.evaluation._parts import Part, Parts
from netlens.evaluation.metrics import Metric
from netlens.silence import silenced

BLOCK = 16
"""How many images are judged together. It is no option, because random parts of metrics are drawn for a block."""

OnBlock = Callable[[str, int], object]
"""It gets the name of a metric before each block, and how many images have their score by this metric."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What several metrics say of one method.

    Attributes:
        scores: (metrics, n), float64; NaN where a metric or the method has no meaning.
        seconds: The processor time of the explanation of one image; NaN for maps from elsewhere.
        why: Why all scores of a metric are missing, by its name; under "" if those of all metrics are.
    """

    scores: Tensor
    seconds: float
    why: Mapping[str, str] = field(default_factory=dict)


class Block:
    """Final: the scores of one method on images that are judged together. What a part holds is not judged again.

    Args:
        name: What the method is called.
        method: The method; not read if there is an explanation.
        images: The images.
        part: The file of these scores, if they are to stay.
        explanation: The maps, if they come from elsewhere; else they are made when a metric needs them.
    """

    def __init__(
        self, name: str, method: Any, images: Case, part: Part | None, explanation: Explanation | None
    ) -> None:
        self.name, self.method, self.images, self.part, self.explanation = name, method, images, part, explanation
        self.seconds = float("nan") if part is None else part.seconds

    def score(self, metric: Metric) -> Tensor:
        """(n,), float64: the scores by a metric.

        Raises:
            NotApplicable, NonFiniteError: There are none. This is not kept: a library may be there the next time.
        """
        values = None if self.part is None else self.part.score(metric)
        if values is None:
            if self.explanation is None:
                self._explain()
            assert self.explanation is not None
            values = metric(self.explanation)
            if self.part is not None:
                self.part.keep(metric, values, self.seconds)
        return values

    def _explain(self) -> None:
        start = time.process_time()
        with silenced(NetLensWarning):  # that a method found nothing is what metrics show
            self.explanation = Explanation.of(self.images, self.method, self.name)
        self.seconds = (time.process_time() - start) / len(self.images)


class Judging:
    """Final: judges methods on the images of a case, in blocks. With a folder, what is judged is not judged again.

    Args:
        case: What is judged.
        folder: The folder of the parts; None to keep nothing.
    """

    def __init__(self, case: Case, folder: str | Path | None = None) -> None:
        self.case = case
        self.parts = None if folder is None else Parts(Path(folder), case)
        objectives = [one for one in (case.explained, case.judged) if one is not None]
        self._divides = all(one.splits for one in objectives) and (len(case) <= BLOCK or not mixing(case.flat, case.x))

    def __call__(
        self,
        name: str,
        source: Any,
        judges: Mapping[str, Metric],
        rows: Sequence[int] | None = None,
        on_block: OnBlock = lambda metric, n: None,
    ) -> Judged:
        """Judge a method by several metrics.

        Args:
            name: What the method is called.
            source: The method; or an attribution or an array, with maps for all images of the case.
            judges: The metrics by name.
            rows: The images; None for all.
            on_block: A function that is called before each block.
        """
        rows = range(len(self.case)) if rows is None else rows
        scores = torch.full((len(judges), len(rows)), torch.nan, dtype=torch.float64)
        try:
            maps = None if isinstance(source, Method) else Explanation.of(self.case, source, name)
        except (NotApplicable, NonFiniteError) as error:
            return Judged(scores, float("nan"), {"": str(error)})
        why: dict[str, str] = {}
        seconds = 0.0
        for start in range(0, len(rows), size := self._size(source, judges, len(rows))):
            block = rows[start : start + size]
            work = self._block(name, source, maps, block)
            for j, (metric, judge) in enumerate(judges.items()):
                on_block(metric, start)
                try:
                    if metric not in why:
                        scores[j, start : start + len(block)] = work.score(judge)
                except (NotApplicable, NonFiniteError) as error:
                    if work.explanation is None:
                        return Judged(torch.full_like(scores, torch.nan), float("nan"), {"": str(error)})
                    why[metric] = str(error)
                    scores[j] = torch.nan
            seconds += work.seconds * len(block)
        return Judged(scores, seconds / max(1, len(rows)), why)

    def _block(self, name: str, source: Any, maps: Explanation | None, rows: Sequence[int]) -> Block:
        images = self.case if list(rows) == list(range(len(self.case))) else self.case.take(rows)
        chosen = None if maps is None else maps.take(images, rows)
        part = None
        if self.parts is not None:
            part = self.parts.of(name, source if chosen is None else (chosen.maps, chosen.totals), images)
        return Block(name, source, images, part, chosen)

    def _size(self, source: Any, judges: Mapping[str, Metric], n: int) -> int:
        return BLOCK if self._divides and not self.holds_rows([source, *judges.values()]) else max(1, n)

    def holds_rows(self, parts: Sequence[Any]) -> bool:
        """Whether an option of a method or a metric holds a row for each image, which no block may cut."""
        options = [
            getattr(part, one.name) for part in parts if isinstance(part, Method | Metric) for one in fields(part)
        ]
        return any(
            isinstance(value, Tensor) and value.ndim == self.case.x.ndim and len(value) == len(self.case) > 1
            for value in options
        )
