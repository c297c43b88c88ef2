"""Storage: tensors and a header in one file, .safetensors or .npz, without pickle. Files are never half written."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from netlens import files
from netlens.heatmaps import ResultError
from netlens.results._provenance import Provenance

KEY = "netlens"  # the text chunk of a PNG, the metadata entry or the array that holds the header
FORMATS = (".safetensors", ".npz")

Header = Mapping[str, Any]


def write(path: str | Path, data: bytes) -> Path:
    """Write a file. If this fails, raise `ResultError`; an earlier file stays unchanged."""
    try:
        return files.write(path, data)
    except OSError as error:
        raise ResultError(f"{path} cannot be written: {error.strerror}.") from error


def read_json(path: str | Path) -> Any:
    """The values in a .json file. If it is missing or damaged, raise `ResultError`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} cannot be read ({error}).") from error
    with readable(path):
        return json.loads(text)


def pack(suffix: str, tensors: Mapping[str, Tensor], header: Header) -> bytes:
    """The bytes of a .safetensors or .npz file with these tensors and a header, which holds values of JSON."""
    # clones: safetensors refuses tensors that share memory, such as views
    clones = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    text = json.dumps(header)
    if suffix == ".safetensors":
        return save(clones, metadata={KEY: text})
    try:
        arrays = {name: tensor.numpy() for name, tensor in clones.items()}
    except TypeError as error:
        raise ResultError(f"an .npz file cannot hold such numbers ({error}); save as .safetensors.") from error
    arrays[KEY] = np.array(text)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(path: str | Path) -> tuple[dict[str, Tensor], Header]:
    """Read a file that `pack` made: its tensors, on the CPU, and its header."""
    path = _existing(path, FORMATS)
    with readable(path):
        if path.suffix == ".safetensors":
            return load_file(path), _header(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files if name != KEY}, _header(path)


def read_provenance(path: str | Path) -> Provenance:
    """The provenance of a saved result.

    Args:
        path: A file (.png, .gif, .safetensors or .npz) that `save` of a result wrote.

    Raises:
        ResultError: The file does not exist, is damaged, or holds no provenance.

    Example:
        >>> import tempfile
        >>> from netlens.results import Attribution
        >>> origin = Provenance("Saliency", "resnet50", "logit(207)", targets=(207,))
        >>> saliency = Attribution(torch.randn(1, 3, 4, 6), torch.rand(1, 3, 4, 6), origin)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_provenance(saliency.save(Path(folder) / "saliency.npz")) == origin
        True
    """
    path = _existing(path, (".png", ".gif", *FORMATS))
    with readable(path):
        return Provenance.from_dict(_header(path)["provenance"])


def _header(path: Path) -> Header:
    header: Header = json.loads(_header_text(path))
    return header


def _header_text(path: Path) -> str:
    if path.suffix.lower() == ".png":
        with Image.open(path, formats=["PNG"]) as picture:
            assert isinstance(picture, PngImageFile)
            return str(picture.text[KEY])
    if path.suffix.lower() == ".gif":
        with Image.open(path, formats=["GIF"]) as picture:
            return bytes(picture.info["comment"]).decode()
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return str(file.metadata()[KEY])
    with np.load(path, allow_pickle=False) as file:
        return str(file[KEY])


def _existing(path: str | Path, suffixes: tuple[str, ...]) -> Path:
    path = Path(path)
    lower = path.suffix.lower()
    suffix = lower if lower in (".png", ".gif") else path.suffix  # drawings are saved under either
    if suffix not in suffixes:
        raise ResultError(f"{path} must end in {' or '.join(suffixes)}.")
    if not path.is_file():
        raise ResultError(f"there is no file {path}.")
    return path


@contextlib.contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Within the block, errors of reading a damaged file, or a file of another program, become `ResultError`."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:  # the file has no chunk, no metadata, or another structure
        raise ResultError(f"{path} was not saved by netlens: its provenance is missing or incomplete.") from error
    except (OSError, ValueError, EOFError, BadZipFile, SafetensorError) as error:
        raise ResultError(f"{path} is damaged, or netlens did not save it; save the result again.") from error
