"""Packing: a job as bytes that another process opens, and errors that come back."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from netlens.errors import NetLensError
from netlens.survey._job import Job


def packed(job: Job, dumps: Callable[[Job], bytes] = pickle.dumps) -> bytes:
    """The job as bytes. The workers get copies of tensors; torch's own way would move the user's into shared memory."""
    try:
        return dumps(job)
    except Exception as error:  # code of the user, in functions or data sets
        raise NetLensError(
            f"the network, the questions or the data cannot be sent to another process ({_line(error)}); give "
            "workers=0."
        ) from error


def unpacked(code: bytes) -> Job:
    """The job that `packed` gave."""
    try:
        job: Job = pickle.loads(code)
    except Exception as error:
        raise NetLensError(
            f"another process cannot open the network, the questions or the data ({_line(error)}); define classes and "
            "functions in a module, or give workers=0."
        ) from error
    return job


def portable(error: BaseException) -> BaseException:
    """The error, or one of the same text if it cannot be sent."""
    try:
        copy = pickle.loads(pickle.dumps(error))
        assert isinstance(copy, type(error))
        return copy
    except Exception:
        return NetLensError(f"{type(error).__name__}: {_line(error)}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
