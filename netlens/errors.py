"""Every error that netlens raises on purpose: one base class, messages that say what, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NetLensError(Exception):
    """Base of all errors that a person can mend; the command line prints it in one line and exits with 2."""


class TraceError(NetLensError):
    """A network, or the part of it that was asked for, cannot be unrolled into layers."""


class LayerNotFound(NetLensError, KeyError):
    """A key, path, glob, type or index names no layer."""

    __str__ = Exception.__str__  # KeyError would quote the message


class RecordError(NetLensError):
    """An activation or gradient was asked for that was not recorded, or not yet."""


class NotApplicable(NetLensError):
    """A method does not apply to this network or layer; the message says why."""


class NonFiniteError(NetLensError):
    """An activation, gradient or input holds NaN or Inf; the message names the layer and the sample."""


class ImageError(NetLensError):
    """An image cannot be read or does not fit; the message names the file and the remedy."""


class WeightsError(NetLensError):
    """A weights file cannot be read or does not fit the architecture."""


class ClassNotFound(NetLensError):
    """A class name or index names no class of the network."""


class AmbiguousClass(NetLensError):
    """A class name names several classes."""


class NetLensWarning(UserWarning):
    """Something worth knowing that does not stop the work."""


def closest(wrong: str, known: Iterable[str], n: int = 3) -> str:
    """The `n` known names nearest to a wrong one, quoted, for the tail of an error message."""
    matches = difflib.get_close_matches(wrong, list(known), n=n, cutoff=0.0)
    return ", ".join(repr(match) for match in matches)
