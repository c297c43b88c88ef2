"""Assertions in the code of a network. A trace assumes that they hold, and the flat model checks them when it runs."""

from __future__ import annotations

import dis
from types import FrameType

_FILLERS = ("CACHE", "NOT_TAKEN", "EXTENDED_ARG")


def asserts(frame: FrameType) -> bool:
    """Whether the frame evaluates the condition of an `assert`: a false condition leads to code that loads the error.

    torch.fx recognizes assertions only in the byte code of old versions of Python.
    """
    code = [instruction for instruction in dis.get_instructions(frame.f_code) if instruction.opname not in _FILLERS]
    upcoming = [index for index, instruction in enumerate(code) if instruction.offset >= frame.f_lasti][:3]
    jump = next((index for index in upcoming if code[index].opname.startswith("POP_JUMP")), None)
    if jump is None:
        return False
    if "IF_FALSE" in code[jump].opname:
        if_false = next(instruction for instruction in code if instruction.offset >= code[jump].argval)
    else:
        if_false = code[jump + 1]
    return if_false.opname == "LOAD_ASSERTION_ERROR" or "AssertionError" in if_false.argrepr
