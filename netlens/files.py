"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

LONGEST_NAME = 255  # bytes, on all common file systems


def write(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file, so that a reader sees the old file or the whole new one, never a part.

    A link stays a link, and its target is replaced. The file keeps its permissions.

    Args:
        path: The file.
        data: Its content.

    Returns:
        The path.

    Raises:
        OSError: The file cannot be written.
    """
    target = Path(os.path.realpath(path))
    # the new file lies beside the old one, for a rename is atomic only within a file system
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return Path(path)
