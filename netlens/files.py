"""Files: written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

LONGEST_NAME = 255  # bytes, on all common file systems


def write(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file beside its place, then rename it, so that a reader meets the old one or all of the new one.

    A link stays one, and what it leads to is renewed; what was allowed to whom stays allowed. Raises `OSError`.
    """
    target = Path(os.path.realpath(path))
    # a rename is only atomic within one file system
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(data)
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, beside)
        beside.replace(target)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    return Path(path)
