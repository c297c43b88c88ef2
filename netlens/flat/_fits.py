"""Whether inputs fit a program: whether its assumptions about shapes and types hold for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netlens.flat.memory import unmetered
from netlens.flat.running import Program, Step, untapped
from netlens.flat.tracing import Assumption, AssumptionError, kind_of
from netlens.memo import Memo


def assumptions_of(program: Program) -> tuple[str, ...]:
    """The answers about shapes and types on the example, each with the line of code that asks."""
    checks = (step.layer.function for step in program.steps if _assumes(step))
    return tuple(dict.fromkeys(map(str, checks)))


def misfit(program: Program, inputs: Sequence[Any]) -> AssumptionError | None:
    """The assumption that does not hold for these inputs. None if all hold, or if the program cannot run on them.

    A run up to the last assumption shows it, once for all inputs of the same shapes and types.
    """
    guards = _GUARDS.of(program, None, lambda: tuple(step.key for step in program.steps if _assumes(step)))
    if not guards or len(inputs) != len(program.inputs) or torch.compiler.is_compiling():
        return None
    fitting_kinds = _fitting(program)
    kind = kind_of(inputs)
    if kind in fitting_kinds:
        return None
    try:
        with torch.no_grad(), untapped(), unmetered():
            program.run(dict(zip(program.inputs, inputs, strict=True)), guards)
    except AssumptionError as error:
        return error
    except Exception:  # the run that the caller makes fails, too, and says why
        return None
    fitting_kinds.add(kind)
    return None


def note_fit(program: Program, inputs: Sequence[Any]) -> None:
    """Note that all assumptions hold for inputs of these shapes and types."""
    _fitting(program).add(kind_of(inputs))


def _fitting(program: Program) -> set[Any]:
    return _FITS.of(program, None, set)


def _assumes(step: Step) -> bool:
    return step.guard and isinstance(getattr(step.layer, "function", None), Assumption)


_GUARDS: Memo[Program, tuple[str, ...]] = Memo()
_FITS: Memo[Program, set[Any]] = Memo()
