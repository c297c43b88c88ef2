"""Which values carry something back: those that depend on the input by a derivative, and not by a comparison alone."""

from __future__ import annotations

from collections.abc import Iterable

from netlens.flat.program import Program
from netlens.rules.calls import innermost, name_of

_WITHOUT_DERIVATIVE = """
    gt lt ge le eq ne greater greater_equal less less_equal logical_and logical_or logical_not logical_xor and_ or_ xor
    invert bitwise_and bitwise_or bitwise_xor bitwise_not isnan isinf isfinite isclose argmax argmin argsort one_hot
    bool int long detach zeros_like ones_like full_like rand_like randn_like empty_like new_zeros new_ones new_full
    new_empty new_tensor
"""
_STAIRS = "sign sgn heaviside floor ceil round trunc fix floor_divide floordiv"
_BREAKS = frozenset(_WITHOUT_DERIVATIVE.split())
_LEVEL = frozenset(_STAIRS.split())


def carrying(program: Program, start: Iterable[str], stairs: bool = True) -> set[str]:
    """The keys at `start`, and those of the steps that depend on them by a derivative: a mask `x > 0` does not.

    stairs: whether functions whose derivative is 0 wherever it exists, such as a sign, count among these.
    """
    found = set(start)
    breaks = _BREAKS if stairs else _BREAKS | _LEVEL
    for step in program.steps:
        if not step.hidden and not found.isdisjoint(step.reads) and name_of(innermost(step.layer)) not in breaks:
            found.add(step.key)
    return found
