"""What a metric is: a frozen set of options that gives each explanation a number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from torch import Tensor

from netlens.errors import NetLensError, NotApplicable, closest
from netlens.evaluation._explanation import Explanation
from netlens.options import check, named, snake_case

Family = Literal["faithfulness", "robustness", "sanity", "localization", "complexity", "axioms"]

METRICS: dict[str, type[Metric]] = {}
"""Every registered metric by its name, in the order of registration."""

M = TypeVar("M", bound="type[Metric]")


def register_metric(metric: M) -> M:
    """Register a metric under its class name in snake case."""
    METRICS[metric_name(metric)] = metric
    return metric


def metric_name(metric: type[Metric]) -> str:
    """The name under which the class of a metric is registered.

    >>> class SensitivityN: ...
    >>> metric_name(SensitivityN)
    'sensitivity_n'
    """
    return snake_case(metric.__name__)


def metric_named(name: str) -> type[Metric]:
    """The registered metric of that name. An unknown name raises `NetLensError` with the closest names."""
    if name not in METRICS:
        raise NetLensError(f"there is no metric {name!r}. Closest: {closest(name, METRICS)}.")
    return METRICS[name]


@dataclass(frozen=True)
class Metric(ABC):
    """Abstract: a metric. Its fields are its options.

    A metric defines `judge`, and says what it is:

    | name             | says                                                                        |
    |------------------|-----------------------------------------------------------------------------|
    | `family`         | what it is about                                                            |
    | `more_is_better` | its direction                                                               |
    | `bounds`         | the least and the largest number that it can give                           |
    | `assumes`        | when it means something                                                     |
    | `needs`          | "method" if it asks the method again; "masks" if it needs the true objects  |
    """

    family: ClassVar[Family]
    more_is_better: ClassVar[bool]
    bounds: ClassVar[tuple[float, float]]
    assumes: ClassVar[str]
    needs: ClassVar[Literal["method", "masks"] | None] = None

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, explanation: Explanation) -> Tensor:
        """(N,), float64: the number of each image; NaN where the metric has no meaning for an image.

        Raises:
            NotApplicable: The metric needs a method or masks, and there are none.
        """
        name = type(self).__name__
        if self.needs == "method" and explanation.method is None:
            raise NotApplicable(f"{name} asks a method about other images; {explanation.name} is an array.")
        if self.needs == "masks" and explanation.case.masks is None:
            raise NotApplicable(f"{name} needs masks of the true objects; give masks=.")
        return self.judge(explanation).double()

    @abstractmethod
    def judge(self, explanation: Explanation) -> Tensor:
        """(N,): the number of each image."""


named(Metric, METRICS)
