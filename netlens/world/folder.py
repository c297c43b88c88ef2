"""The little world as a folder of pictures by class, with a mask of the labeled object beside each of them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from netlens import files, images
from netlens.errors import ImageError
from netlens.options import checked
from netlens.world.scene import CLASSES, scene

RECORD = "world.json"
"""The file that says which world a folder holds."""


def write_world(folder: str | os.PathLike[str], n: int, seed: int = 0, size: int = 128, progress: bool = True) -> Path:
    """Write scenes by class: `images/CLASS/NUMBER.png`, and `masks/CLASS/NUMBER.png`, which is white on the object.

    Scene i is `scene((seed, i), size)` of class i modulo 15, so that all classes have as many scenes, up to one. The
    folder appears when it is complete. If it holds the same world already, nothing is written.

    Args:
        folder: The folder. It must not exist, or must be empty.
        n: The number of scenes, at least 1.
        seed: Another seed gives other scenes.
        size: The side of a picture in pixels, at least 16.
        progress: Whether a terminal shows a progress bar.

    Raises:
        ImageError: The folder holds something else, or cannot be written.
    """
    n, seed = checked("n", n, int, least=1), checked("seed", seed, int, least=0)
    size = checked("size", size, int, least=16)
    target = Path(folder).absolute()
    record = {"world": "netlens", "version": 1, "n": n, "seed": seed, "size": size, "classes": list(CLASSES)}
    if _holds(target, record):
        return Path(folder)
    partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}.tmp")
    try:
        partial.mkdir()
        for name in CLASSES[:n]:
            for part in ("images", "masks"):
                (partial / part / folder_of(name)).mkdir(parents=True)
        digits = len(str(n - 1))
        for i in tqdm(range(n), unit="scene", delay=1, disable=None if progress else True, leave=False):
            one = scene((seed, i), size, i % len(CLASSES))
            place = Path(folder_of(CLASSES[one.label])) / f"{i:0{digits}}.png"
            images.save(one.image, partial / "images" / place)
            images.save(one.mask.astype(np.uint8) * np.uint8(255), partial / "masks" / place)
        files.write(partial / RECORD, json.dumps(record, indent=1).encode())
        if target.is_dir():
            target.rmdir()  # it is empty
        partial.rename(target)
    except OSError as error:
        raise ImageError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Path(folder)


def folder_of(name: str) -> str:
    """The name of the folder of a class: without spaces."""
    return name.replace(" ", "_")


def _holds(folder: Path, record: dict[str, Any]) -> bool:
    """Whether the folder holds this world. Raise if it holds something else."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        if json.loads((folder / RECORD).read_text(encoding="utf-8")) == record:
            return True
    except (OSError, ValueError):
        pass
    raise ImageError(f"{folder} is not empty, and what it holds is not this world; choose another folder.")
