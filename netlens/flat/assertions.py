"""Assertions, told from other control flow: a trace may take those to hold, and check them when the network runs."""

from __future__ import annotations

import dis
from types import FrameType

_FILLERS = ("CACHE", "NOT_TAKEN", "EXTENDED_ARG")


def asserts(frame: FrameType) -> bool:
    """Whether the truth value that the frame is asking for is that of an `assert`: false would lead to its error.

    fx knows this only for the byte code of old Pythons.
    """
    code = [instruction for instruction in dis.get_instructions(frame.f_code) if instruction.opname not in _FILLERS]
    ahead = [index for index, instruction in enumerate(code) if instruction.offset >= frame.f_lasti][:3]
    jump = next((index for index in ahead if code[index].opname.startswith("POP_JUMP")), None)
    if jump is None:
        return False
    if "IF_FALSE" in code[jump].opname:
        goal = next(instruction for instruction in code if instruction.offset >= code[jump].argval)
    else:
        goal = code[jump + 1]
    return goal.opname == "LOAD_ASSERTION_ERROR" or "AssertionError" in goal.argrepr
