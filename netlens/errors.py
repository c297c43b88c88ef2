"""The errors that netlens raises on purpose. A message says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NetLensError(Exception):
    """The base of all errors that a person can correct; the command line prints it in one line and exits with 2."""


class TraceError(NetLensError):
    """A network, or a part of it, cannot be unrolled into layers."""


class LayerNotFound(NetLensError, KeyError):
    """No layer has this key, path, glob, type or index."""

    __str__ = Exception.__str__  # KeyError would quote the message


class RecordError(NetLensError):
    """An activation or gradient was never recorded, or has not been recorded yet."""


class NotApplicable(NetLensError):
    """A method does not apply to this network or layer; the message says why."""


class NonFiniteError(NetLensError):
    """An activation, gradient or input holds NaN or Inf; the message names the layer and the sample."""


class ImageError(NetLensError):
    """An image cannot be read or does not fit; the message names the file and the remedy."""


class WeightsError(NetLensError):
    """A weights file cannot be read or does not fit the architecture."""


class ClassNotFound(NetLensError):
    """The network has no class of this name or index."""


class AmbiguousClass(NetLensError):
    """A name fits several classes."""


class NetLensWarning(UserWarning):
    """Something that a person may want to know, but that does not stop the work."""


def closest(wrong: str, names: Iterable[str], n: int = 3) -> str:
    """The `n` names that are most similar to a wrong one, quoted, for the end of an error message.

    Example:
        >>> closest("relu2", ["relu_1", "relu_2", "conv"], n=2)
        "'relu_2', 'relu_1'"
    """
    matches = difflib.get_close_matches(wrong, list(names), n=n, cutoff=0.0)
    return ", ".join(repr(match) for match in matches)
