"""Every registered method of attribution as a method of one class, which `NetLens` extends.

A method that is registered later is a method of the class at once. So that type checkers and editors see the methods
that come with netlens, `methods.pyi` beside this file lists them; `python -m tests.lens_stub` writes that file.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from netlens.attribution import METHODS, Attribution, Method
from netlens.attribution.method import configured
from netlens.errors import closest
from netlens.objectives import Objective


class Methods(ABC):
    """Abstract: explains by any registered method, each under its own name."""

    @abstractmethod
    def attribute(self, method: Any, objective: Objective | None = None, wrt: str = "input") -> Any:
        """Explain by a method."""

    def __getattr__(self, name: str) -> Callable[..., Attribution]:
        if name.startswith("_") or name not in METHODS:
            raise AttributeError(f"NetLens has no attribute or method {name!r}. Closest: {closest(name, METHODS)}.")
        method = METHODS[name]

        def explain(*, objective: Objective | None = None, wrt: str = "input", **options: Any) -> Attribution:
            return self.attribute(configured(method, options), objective, wrt)

        explain.__name__ = explain.__qualname__ = name
        explain.__doc__ = method.__doc__
        explain.__signature__ = _signature(method)  # type: ignore[attr-defined]
        return explain

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *METHODS]


def _signature(method: type[Method]) -> inspect.Signature:
    """The options of a method, then the objective and the layer, all by keyword."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [option.replace(kind=keyword) for option in inspect.signature(method).parameters.values()]
    shared = [
        inspect.Parameter("objective", keyword, default=None, annotation="Objective | None"),
        inspect.Parameter("wrt", keyword, default="input", annotation="str"),
    ]
    return inspect.Signature([*options, *shared], return_annotation=Attribution)
