"""Lines of a network's own code, for messages: where a trace stopped, and which line asks a question."""

from __future__ import annotations

import inspect
import linecache
import traceback

from torch import fx


def reason_of(error: Exception) -> str:
    """The reason why a trace stopped, and the line of the network's own code at which it stopped."""
    frames: list[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if not _traces(frame.filename)]
    frames = [frame for frame in frames if not _is_library(frame.filename)] or frames
    reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
    if isinstance(error, fx.proxy.TraceError):
        reason = "its control flow depends on the data"
    return f"{reason} ({_quoted(frames[-1].filename, frames[-1].lineno or 0)})" if frames else reason


def asking_line() -> str:
    """The line of the network's own code that is running."""
    frame = inspect.currentframe()
    while frame is not None and (_traces(frame.f_code.co_filename) or _is_library(frame.f_code.co_filename)):
        frame = frame.f_back
    return _quoted(frame.f_code.co_filename, frame.f_lineno) if frame is not None else "the network"


def _traces(file: str) -> bool:
    """Whether a file belongs to the code that traces, and not to the network."""
    return any(folder in file.replace("\\", "/") for folder in ("torch/fx/", "netlens/flat/"))


def _is_library(file: str) -> bool:
    """Whether a file belongs to a library that networks call, and that says nothing about the network."""
    return "site-packages" in file and any(f"/{name}/" in file.replace("\\", "/") for name in ("torch", "numpy"))


def _quoted(file: str, number: int) -> str:
    return f"{file}:{number}: `{linecache.getline(file, number).strip()}`"
