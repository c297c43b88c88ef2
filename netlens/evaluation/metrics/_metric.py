"""What a metric is: a frozen set of options that gives each explanation a number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from torch import Tensor

from netlens.errors import NetLensError, NotApplicable, closest
from netlens.evaluation._explanation import Explanation
from netlens.options import check, named, snake_case

Needs = Literal["method", "masks", "image_parts", "neighbor", "shuffled"]

Family = Literal["faithfulness", "robustness", "sanity", "localization", "complexity", "axioms"]

METRICS: dict[str, type[Metric]] = {}
"""Every registered metric by its name, in the order of registration."""

_OF_THE_CASE: dict[Needs, str] = {
    "masks": "masks of the true objects",
    "image_parts": "images without each of their parts",
    "neighbor": "a network that was trained in the same way from another seed",
    "shuffled": "a network that was trained on shuffled labels",
}
"""What a case says of this name."""

M = TypeVar("M", bound="type[Metric]")


def register_metric(metric: M) -> M:
    """Register a metric under its class name in snake case.

    Args:
        metric: A subclass of `Metric`. It replaces a registered metric with the same name.

    Returns:
        The same class, so that this is a decorator.

    Example:
        >>> from netlens.evaluation.metrics import Gini
        >>> @register_metric
        ... class MyGini(Gini): ...
        >>> METRICS.pop("my_gini") is MyGini  # it is taken out again here
        True
    """
    METRICS[metric_name(metric)] = metric
    return metric


def metric_name(metric: type[Metric]) -> str:
    """The name under which the class of a metric is registered.

    Args:
        metric: The class.

    Example:
        >>> class SensitivityN: ...
        >>> metric_name(SensitivityN)
        'sensitivity_n'
    """
    return snake_case(metric.__name__)


def metric_named(name: str) -> type[Metric]:
    """The registered metric of that name.

    Args:
        name: The name in snake case, such as "pointing_game".

    Raises:
        NetLensError: There is no such metric. The message names the closest ones.

    Example:
        >>> metric_named("pointing_game").__name__
        'PointingGame'
    """
    if name not in METRICS:
        raise NetLensError(f"there is no metric {name!r}. Closest: {closest(name, METRICS)}.")
    return METRICS[name]


@dataclass(frozen=True)
class Metric(ABC):
    """Abstract: a metric. Its fields are its options.

    A metric defines `judge`, and says what it is:

    | name             | says                                                                           |
    |------------------|--------------------------------------------------------------------------------|
    | `family`         | what it is about                                                               |
    | `more_is_better` | its direction                                                                  |
    | `bounds`         | the least and the largest number that it can give                              |
    | `assumes`        | when it means something                                                        |
    | `needs`          | "method" if it asks the method again; what the case must say, if it needs that |

    A metric that needs a second network asks the method about it, too.
    """

    family: ClassVar[Family]
    more_is_better: ClassVar[bool]
    bounds: ClassVar[tuple[float, float]]
    assumes: ClassVar[str]
    needs: ClassVar[Needs | None] = None

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, explanation: Explanation) -> Tensor:
        """(N,), float64: the number of each image; NaN where the metric has no meaning for an image.

        Raises:
            NotApplicable: The metric needs a method, or something that the case does not say.
        """
        name = type(self).__name__
        if self.needs in ("method", "neighbor", "shuffled") and explanation.method is None:
            raise NotApplicable(f"{name} asks a method about other images; {explanation.name} is an array.")
        if self.needs in _OF_THE_CASE and getattr(explanation.case, self.needs) is None:
            raise NotApplicable(f"{name} needs {_OF_THE_CASE[self.needs]}; give {self.needs}=.")
        return self.judge(explanation).double()

    @abstractmethod
    def judge(self, explanation: Explanation) -> Tensor:
        """(N,): the number of each image."""


named(Metric, METRICS)
