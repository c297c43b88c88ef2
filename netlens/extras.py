"""Extras: packages that only a part of netlens needs, and that may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from netlens.errors import NetLensError


@contextmanager
def extra(name: str, sentence: str, instead: str = "", error: type[NetLensError] = NetLensError) -> Iterator[None]:
    """Within the block, a package that is missing raises an error that says how to install it.

    Args:
        name: The extra of netlens that the package belongs to, as in setup.py.
        sentence: What needs which package.
        instead: What else a person can do.
        error: The kind of error.

    Raises:
        NetLensError: A package that the block imports is missing; of the kind `error`.

    Example:
        >>> with extra("atlas", "groups need scikit-learn", "leave groups out"):
        ...     import no_such_package
        Traceback (most recent call last):
        netlens.errors.NetLensError: groups need scikit-learn: pip install 'netlens[atlas]', or leave groups out.
    """
    try:
        yield
    except ImportError as missing:
        more = f", or {instead}" if instead else ""
        raise error(f"{sentence}: pip install 'netlens[{name}]'{more}.") from missing
