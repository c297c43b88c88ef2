"""Progress: which method and which metric come next, and how much is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tqdm import tqdm


@dataclass(frozen=True)
class Step:
    """What is judged next.

    Attributes:
        method: The name of the method.
        metric: The name of the metric.
        methods: The number of the method, from 1, and how many there are.
        metrics: The number of the metric, from 1, and how many there are.
        done: How many scores there are already: one for each method, metric and image.
        total: How many there will be.
    """

    method: str
    metric: str
    methods: tuple[int, int]
    metrics: tuple[int, int]
    done: int
    total: int

    def __str__(self) -> str:
        return (
            f"{self.method} ({self.methods[0]} of {self.methods[1]}), "
            f"{self.metric} ({self.metrics[0]} of {self.metrics[1]})"
        )


Progress = Callable[[Step], object]


@contextmanager
def shown(progress: bool = True) -> Iterator[Progress]:
    """A function that shows each step as a progress bar, if a terminal is there.

    Args:
        progress: Whether to show anything.

    Example:
        >>> import torch
        >>> from netlens import open_network
        >>> from netlens.evaluation import Case, evaluate
        >>> from netlens.objectives import logit
        >>> case = Case(open_network(), torch.rand(2, 3, 64, 64), logit(3))
        >>> with shown(progress=False) as step:
        ...     evaluate(case, ["saliency"], ["gini"], controls=False, progress=step).scores.shape
        torch.Size([1, 1, 2])
    """
    with tqdm(unit="score", delay=1, disable=None if progress else True, leave=False) as bar:

        def show(step: Step) -> None:
            bar.total = step.total
            bar.set_description(str(step), refresh=False)
            bar.update(step.done - bar.n)

        yield show
