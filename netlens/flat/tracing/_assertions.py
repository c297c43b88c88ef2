"""Assertions in the code of a network. A trace assumes that they hold, and the flat model checks them when it runs."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import fx

from netlens.flat.tracing._lines import asking_line

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


ASSERTIONS = (torch._assert, torch._assert_async)
"""The functions of torch that assert something about their first argument."""


class Check:
    """An assertion by `torch._check`, `torch._check_value` or the like.

    Args:
        error: The type of the error.
        message: What the error says.
    """

    __name__ = "check"

    def __init__(self, error: type[BaseException], message: str) -> None:
        self.error, self.message = error, message

    def __call__(self, condition: Any) -> None:
        if not condition:
            raise self.error(self.message)


def _message_of(message: Any) -> str | None:
    """The message of a check. None if there is none, or if it quotes traced values, which a run does not have."""
    try:
        text = str(message() if callable(message) else message)
    except Exception:  # a traced value cannot be written as a number
        return None
    return None if message is None or "Proxy(" in text else text


@contextmanager
def recorded_checks(silent: Callable[[], bool]) -> Iterator[None]:
    """Within the block, a check of a traced value becomes a node of the graph. All checks of torch end in one function.

    Args:
        silent: Whether calls are not recorded now.
    """
    original = torch._check_with

    def check(error_type: type[BaseException], cond: Any, message: Any = None) -> None:
        if silent() or not issubclass(type(cond), fx.Proxy):
            original(error_type, cond, message)
            return
        cond.tracer.create_proxy("call_function", Check(error_type, _message_of(message) or asking_line()), (cond,), {})

    torch._check_with = check
    try:
        yield
    finally:
        torch._check_with = original
