"""Which values carry something back: those that depend on the input by a derivative, and not by a comparison alone."""

from __future__ import annotations

from netlens.flat.program import Program
from netlens.rules.calls import innermost, name_of

_BREAKS = """
    gt lt ge le eq ne greater greater_equal less less_equal logical_and logical_or logical_not logical_xor and_ or_ xor
    invert bitwise_and bitwise_or bitwise_xor bitwise_not isnan isinf isfinite isclose argmax argmin argsort one_hot
    bool int long sign sgn heaviside floor ceil round trunc floor_divide floordiv detach zeros_like ones_like full_like
    rand_like randn_like empty_like new_zeros new_ones new_full new_empty new_tensor
"""
_NAMES = frozenset(_BREAKS.split())


def carrying(program: Program) -> set[str]:
    """The inputs, and the keys of the steps that depend on them by a derivative: a mask `x > 0` does not."""
    found = set(program.inputs)
    for step in program.steps:
        if not step.hidden and not found.isdisjoint(step.reads) and name_of(innermost(step.layer)) not in _NAMES:
            found.add(step.key)
    return found
