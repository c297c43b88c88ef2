"""Pictures in and out: whatever a person holds as an image becomes RGB, and a tensor in [0,1] becomes a picture.

The only file that imports pyimgy, and of it only `pyimgy.core`: its torch part patches `torch.Tensor` for everyone.
pyimgy guesses the range of an array from its largest value, so it is only ever handed 8-bit arrays.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from netlens import files
from netlens.errors import ImageError, NetLensError, NonFiniteError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray

MAX_PIXELS = 89_478_485  # Pillow's own figure: a quarter of a gigabyte at 24 bits per pixel

_SLACK = 1e-3  # resizing and color changes overshoot [0,1] by rounding; a tenth of a gray level is none to lose

# what keeps any picture in any size and in colors; Pillow also writes icons, documents and bitmaps
_WRITTEN = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# what EXIF calls orientation 2 to 8, as what undoes it
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load(source: Source) -> Image.Image:
    """Any image as a new RGB picture, upright, transparency laid on white; of an animation the first frame.

    `source` is a path, the bytes of a file, a PIL image, or an array: (H,W), (H,W,C) or (C,H,W) with 1, 3 or 4
    channels, 8 or 16 bits or floats in [0,1]. 16 bits are scaled to 8, not clipped. The size is checked before anything
    is decoded. Raises `ImageError`, or `NonFiniteError` for NaN and Inf, naming the file.

    >>> load(np.full((2, 3), 0.2)).getpixel((0, 0))
    (51, 51, 51)
    """
    if isinstance(source, Image.Image):
        return _rgb(source, getattr(source, "filename", "") or "the given image")
    if isinstance(source, np.ndarray):
        return _rgb(from_array(source), "the given array")
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(source), "the given data")
    if isinstance(source, str | os.PathLike):
        return _read(Path(source))
    raise ImageError(f"a {type(source).__name__} is not an image; give a path, bytes, a PIL image or a numpy array.")


def _read(path: Path) -> Image.Image:
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder; give one of the files in it.")
        if path.exists() and not path.is_file():  # a pipe or device could be read for ever
            raise ImageError(f"{path} is not a regular file; copy the image to one.")
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ImageError(f"{path} is empty (0 bytes); download or export it again.")
            return _decode(file, str(path))
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist; check the path (working folder: {Path.cwd()}).") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ImageError(
            f"{path!s:.200} cannot be read ({_line(error)}); check the path and its permissions."
        ) from error


def _decode(file: IO[bytes], name: str) -> Image.Image:
    # without warnings.catch_warnings: threads that read pictures at once would leave its filters behind
    try:
        image = Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} has over {MAX_PIXELS:,} pixels; shrink or crop it first.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} holds no image that Pillow knows; convert it to JPEG or PNG.") from error
    except Exception as error:  # decoders raise whatever comes: struct.error, ValueError, SyntaxError, ...
        raise ImageError(f"{name} has a damaged header ({_line(error)}); download or export it again.") from error
    with image:
        return _rgb(image, name)


def _rgb(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} is {width} × {height}, over the limit of {MAX_PIXELS:,} pixels; shrink or crop it first."
        )
    if width * height == 0:
        raise ImageError(f"{name} is {width} × {height}: it has no pixels; check how it was made.")
    if image.format == "EPS":  # decoding it would run its PostScript in Ghostscript
        raise ImageError(f"{name} is PostScript, a program rather than a picture; export it as PNG.")
    try:
        image.load()
        upright = _upright(_eight_bit_modes(image, name))
        rgb = _on_white(upright) if _is_transparent(upright) else upright.convert("RGB")
    except NetLensError:
        raise
    except Exception as error:  # as above
        raise ImageError(f"{name} breaks off or is damaged ({_line(error)}); download or export it again.") from error
    rgb.info = {}  # the orientation must not be applied twice when a loaded picture is loaded again
    return rgb


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # a photo whose EXIF cannot be parsed is still a photo, and shown as it lies by every viewer
        orientation = None
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _eight_bit_modes(image: Image.Image, name: str) -> Image.Image:
    """The modes of 16 and 32 bits scaled to 8; Pillow's own `convert` would clip them at 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    from pyimgy.core import convert_image

    values = convert_image(image, to_type=np.ndarray)
    if image.mode == "I":
        low, high = int(values.min()), int(values.max())
        # what PNG and PGM store in 16 bits, Pillow may hold in 32; elsewhere 0..255 could mean 8 bits as well
        if low < 0 or high > 65535 or (0 < high < 256 and image.format not in ("PNG", "PPM")):
            raise ImageError(f"{name} holds 32-bit integers from {low} to {high}, of unknown white; save it in 8 bits.")
        values = values.astype(np.uint16)
    scaled = _to_pil(_eight_bits(values, name)[..., None])
    scaled.info = image.info  # for the orientation
    return scaled


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _on_white(image: Image.Image) -> Image.Image:
    straight = image.convert("LA") if image.mode == "La" else image
    rgba = straight.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def from_array(array: np.ndarray) -> Image.Image:
    """An array as a picture: (H,W), (H,W,C) or (C,H,W); 1, 3 or 4 channels become modes L, RGB and RGBA.

    >>> from_array(np.zeros((3, 5, 7), dtype=np.uint8)).size
    (7, 5)
    """
    if array.ndim not in (2, 3) or array.size == 0:
        raise ImageError(f"an array of shape {array.shape} is not an image; give (H,W), (H,W,C) or (C,H,W).")
    return _to_pil(_eight_bits(array[..., None] if array.ndim == 2 else _channels_last(array), "the given array"))


def _channels_last(array: np.ndarray) -> np.ndarray:
    leading, trailing = array.shape[0] in (1, 3, 4), array.shape[-1] in (1, 3, 4)
    if not (leading or trailing):
        raise ImageError(
            f"an array of shape {array.shape} has 1, 3 or 4 channels at neither end; give (H,W,C) or (C,H,W)."
        )
    if leading and trailing and array.size > 1:
        raise ImageError(
            f"an array of shape {array.shape} may be (H,W,C) or (C,H,W); give a PIL image or uint8 tensor."
        )
    return array if trailing else array.transpose(1, 2, 0)


def _eight_bits(values: np.ndarray, name: str) -> np.ndarray:
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "u" and size == 1:
        return values
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if kind == "u" and size == 2:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if kind != "f":
        raise ImageError(f"{name} is of {values.dtype}; give uint8 in 0..255, or floats in [0,1].")
    if not np.isfinite(values).all():
        raise NonFiniteError(f"{name} holds NaN or Inf; replace them first, for example with numpy.nan_to_num.")
    low, high = float(values.min()), float(values.max())
    if low < -_SLACK or high > 1 + _SLACK:
        raise ImageError(f"{name} holds floats from {low:.4g} to {high:.4g}, not in [0,1]; rescale or clip them first.")
    return np.rint(values.clip(0, 1).astype(np.float32) * 255).astype(np.uint8)


def _to_pil(array: np.ndarray) -> Image.Image:
    from pyimgy.core import convert_image

    # Pillow wants a single channel without its axis
    return convert_image(np.ascontiguousarray(array[..., 0] if array.shape[-1] == 1 else array), to_type=Image.Image)


def to_array(image: Tensor) -> np.ndarray:
    """A tensor (C,H,W) in [0,1], or of uint8, as a uint8 array (H,W,C), rounded; C is 1, 3 or 4.

    >>> import torch
    >>> to_array(torch.tensor([[[0.0, 0.5, 1.0]]])).ravel().tolist()
    [0, 128, 255]
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or image.numel() == 0:
        raise ImageError(f"a tensor of shape {tuple(image.shape)} is not one image (C,H,W) with 1, 3 or 4 channels.")
    # numpy has no bfloat16
    values = image.detach().cpu()
    values = values.float() if values.is_floating_point() else values
    return _eight_bits(values.permute(1, 2, 0).numpy(), "the given tensor")


def to_pil(image: Tensor) -> Image.Image:
    """A tensor (C,H,W) in [0,1], or of uint8, as a picture of mode L, RGB or RGBA."""
    return _to_pil(to_array(image))


def save(image: Image.Image | np.ndarray | Tensor, path: str | os.PathLike[str]) -> Path:
    """Write a picture in the format of the path's suffix; a reader sees the old file or the whole new one, never half.

    What a format cannot hold is flattened: transparency on white, 16 bits to 8.
    """
    path, file_format = Path(path), format_of(path)
    if isinstance(image, Tensor):
        image = to_pil(image)
    elif isinstance(image, np.ndarray):
        image = from_array(image)
    image = _upright(image)  # what is written says no more how it was held
    if image.mode not in ("L", "RGB") and not (image.mode in ("LA", "RGBA") and file_format in ("PNG", "WEBP", "TIFF")):
        image = load(image)
    encoded = io.BytesIO()
    try:
        image.save(encoded, file_format, **({"quality": 95} if file_format in ("JPEG", "WEBP") else {}))
    except (OSError, ValueError) as error:
        size = f"{image.width} × {image.height} pixels"
        raise ImageError(f"{path}: {size} cannot be written as {file_format} ({_line(error)}); try .png.") from error
    try:
        return files.write(path, encoded.getvalue())
    except OSError as error:
        raise ImageError(f"{path} cannot be written ({_line(error)}); check that its folder exists.") from error


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that the path's suffix stands for, if pictures can be written in it."""
    file_format = Image.registered_extensions().get(Path(path).suffix.lower())
    if file_format not in _WRITTEN:
        raise ImageError(f"{path} has no suffix of an image format that can be written; use .png, .jpg or .webp.")
    return file_format


def _line(error: BaseException) -> str:
    """An error of another library in one short line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:120]
