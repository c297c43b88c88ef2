"""A batch as one file: a .zip with the file of the pairs and settings, and with all pictures that it names."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netlens.errors import NetLensError

BATCH = "batch.json"
"""The name of the file of the pairs and settings in a .zip."""

MOST_FILES = 1000
MOST_BYTES = 2**30  # of all files together, unpacked, unless another bound is given


def packed(
    pairs: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, bytes],
    network: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a .zip that `unpacked` reads.

    Args:
        pairs: The pairs, as in the file of a batch.
        settings: The settings by name, as in the file of a batch.
        pictures: The files of the pictures that these name.
        network: The model and the weights of all settings; None for none.

    Example:
        >>> pair = {"content": "cat.png", "style": "waves.png"}
        >>> data = packed([pair], {"short": {"steps": 50}}, {"cat.png": b"...", "waves.png": b"..."})
        >>> zipfile.ZipFile(io.BytesIO(data)).namelist()
        ['batch.json', 'cat.png', 'waves.png']
    """
    text = json.dumps({**(network or {}), "pairs": list(pairs), "settings": dict(settings)}, indent=2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # pictures are compressed already
        for name, data in {BATCH: text.encode(), **pictures}.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # without the time, so that equal batches are equal files
    return buffer.getvalue()


@contextmanager
def unpacked(path: str | Path, most: int | None = None) -> Iterator[Path]:
    """The path of the file of the pairs and settings, for `Batch.read`.

    A .zip is unpacked into a folder that goes at the end of the block. Another file is that file already.

    Args:
        path: The file.
        most: The largest sum of the sizes of all files of a .zip, unpacked, in bytes; by default 1 GiB. Give it for a
            file of somebody else.

    Raises:
        NetLensError: The .zip is damaged, too large, or no batch.

    Example:
        >>> pair = {"content": "cat.png", "style": "waves.png"}
        >>> data = packed([pair], {"short": {"steps": 50}}, {"cat.png": b"...", "waves.png": b"..."})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "batch.zip").write_bytes(data)
        ...     with unpacked(Path(folder, "batch.zip")) as file:
        ...         file.name, sorted(other.name for other in file.parent.iterdir())
        ('batch.json', ['batch.json', 'cat.png', 'waves.png'])
    """
    path = Path(path)
    if path.suffix.lower() != ".zip":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="netlens-batch-") as folder:
        _unpack(path, Path(folder), MOST_BYTES if most is None else most)
        try:
            yield Path(folder) / BATCH
        except NetLensError as error:  # nobody knows the folder
            raise type(error)(str(error).replace(f"{folder}{os.sep}", f"{path.name}: ")) from error


def _unpack(path: Path, folder: Path, most: int) -> None:
    if not path.is_file():
        raise NetLensError(f"{path} does not exist; check the path (working folder: {Path.cwd()}).")
    try:
        with zipfile.ZipFile(path) as archive:
            files = archive.infolist()
            if BATCH not in archive.namelist():
                raise NetLensError(f"{path.name} is no batch: it holds no {BATCH}.")
            # a file never gives more than the size that is known here
            if len(files) > MOST_FILES or sum(file.file_size for file in files) > most:
                limits = f"{MOST_FILES:,} files and {most // 2**20:,} MB"
                raise NetLensError(f"{path.name} holds more than {limits}; divide the batch.")
            archive.extractall(folder)  # it keeps all names within the folder
    except NetLensError:
        raise
    except Exception as error:  # each way to compress has errors of its own for damaged bytes
        raise NetLensError(
            f"{path.name} is no .zip that can be read ({' '.join(str(error).split())[:120]})."
        ) from error
