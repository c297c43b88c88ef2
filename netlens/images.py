"""Images: pictures in any form become RGB, and tensors in [0,1] become pictures.

No other file imports pyimgy, and this one imports only `pyimgy.core`, because the torch part of pyimgy patches
`torch.Tensor`. Pyimgy guesses the range of an array from its largest value, so it gets 8-bit arrays only.
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

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""The ends of the names of files that may be pictures."""

MAX_PIXELS = 89_478_485  # Pillow's own limit: a quarter of a gigabyte at 24 bits per pixel

_SLACK = 1e-3  # rounding in resizing and color changes goes beyond [0,1] by less than a tenth of a gray level

# the formats that hold colors in any size; Pillow also writes icons, documents and bitmaps
_WRITTEN = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# for each orientation of EXIF, the transposition that undoes it
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def in_folder(root: Path) -> list[Path]:
    """The files in a folder, and in the folders in it, that may be pictures, in the order of their paths.

    Raises:
        ImageError: There is none.
    """
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ImageError(f"{root} holds no images ({', '.join(SUFFIXES)}).")
    return paths


def load(source: Source) -> Image.Image:
    """A new RGB picture of an image in any form: upright, on white where it is transparent, with 8 bits per color.

    The size is checked before decoding. 16 bits are scaled to 8, not clipped. An animation gives its first frame.

    Args:
        source: A path, the bytes of a file, a PIL image, or an array (H,W), (H,W,C) or (C,H,W) with 1, 3 or 4
            channels, of 8 or 16 bits or of floats in [0,1].

    Raises:
        ImageError: The image cannot be read, or is too large; the message names the file.
        NonFiniteError: An array holds NaN or Inf.

    Example:
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
        if path.exists() and not path.is_file():  # reading a pipe or a device might never end
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
    # no warnings.catch_warnings here: threads that read pictures at the same time would mix up its filters
    try:
        image = Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} has over {MAX_PIXELS:,} pixels; shrink or crop it first.") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is no picture that can be read, such as a JPEG, PNG, WebP, GIF, BMP or TIFF; export it as one."
        ) from error
    except Exception as error:  # decoders raise errors of any kind: struct.error, ValueError, SyntaxError, ...
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
    if image.format == "EPS":  # decoding would run the PostScript in Ghostscript
        raise ImageError(f"{name} is PostScript, a program rather than a picture; export it as PNG.")
    try:
        image.load()
        upright = _upright(_eight_bit_modes(image, name))
        rgb = _on_white(upright) if _is_transparent(upright) else upright.convert("RGB")
    except NetLensError:
        raise
    except Exception as error:  # decoders raise errors of any kind here, too
        raise ImageError(f"{name} breaks off or is damaged ({_line(error)}); download or export it again.") from error
    rgb.info = {}  # so that loading the picture again does not apply the orientation twice
    return rgb


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # every viewer shows a photo with damaged EXIF data, without an orientation
        orientation = None
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _eight_bit_modes(image: Image.Image, name: str) -> Image.Image:
    """The image with 16 or 32 bits scaled to 8. Pillow's own `convert` would clip them at 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    from pyimgy.core import convert_image

    values = convert_image(image, to_type=np.ndarray)
    if image.mode == "I":
        low, high = int(values.min()), int(values.max())
        # Pillow may hold 16-bit values of a PNG or PGM in 32 bits; in other files, 0..255 could be 8-bit values
        if low < 0 or high > 65535 or (0 < high < 256 and image.format not in ("PNG", "PPM")):
            raise ImageError(f"{name} holds 32-bit integers from {low} to {high}, of unknown white; save it in 8 bits.")
        values = values.astype(np.uint16)
    scaled = _to_pil(_eight_bits(values, name)[..., None])
    scaled.info = image.info  # it holds the orientation
    return scaled


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _on_white(image: Image.Image) -> Image.Image:
    straight = image.convert("LA") if image.mode == "La" else image
    rgba = straight.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def from_array(array: np.ndarray) -> Image.Image:
    """A picture of an array; 1, 3 or 4 channels become the modes L, RGB and RGBA.

    Args:
        array: (H,W), (H,W,C) or (C,H,W), of 8 or 16 bits or of floats in [0,1].

    Raises:
        ImageError: The shape or the values do not fit.
        NonFiniteError: The array holds NaN or Inf.

    Example:
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
        black_and_white: np.ndarray = values.astype(np.uint8) * np.uint8(255)
        return black_and_white
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

    # Pillow has no axis for a single channel
    plain = np.ascontiguousarray(array[..., 0] if array.shape[-1] == 1 else array)
    picture: Image.Image = convert_image(plain, to_type=Image.Image)
    return picture


def to_array(image: Tensor) -> np.ndarray:
    """A uint8 array (H,W,C) of a tensor, rounded.

    Args:
        image: (C,H,W) in [0,1] or of uint8, with C = 1, 3 or 4.

    Raises:
        ImageError: The shape or the values do not fit.
        NonFiniteError: The tensor holds NaN or Inf.

    Example:
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
    """A picture of mode L, RGB or RGBA of a tensor (C,H,W) in [0,1] or of uint8."""
    return _to_pil(to_array(image))


def save(image: Image.Image | np.ndarray | Tensor, path: str | os.PathLike[str]) -> Path:
    """Write a picture, whole or not at all.

    If the format has no transparency, the picture is laid on white; 16 bits are scaled to 8.

    Args:
        image: A PIL image, an array as for `from_array`, or a tensor as for `to_pil`.
        path: The file; its suffix chooses the format.

    Returns:
        The path.

    Raises:
        ImageError: The suffix is unknown, or the file cannot be written.
    """
    path, file_format = Path(path), format_of(path)
    if isinstance(image, Tensor):
        image = to_pil(image)
    elif isinstance(image, np.ndarray):
        image = from_array(image)
    image = _upright(image)  # the file is written without an orientation, so the pixels must be upright
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
    """Pillow's name for the format of a path's suffix. Raises `ImageError` if netlens does not write this format."""
    file_format = Image.registered_extensions().get(Path(path).suffix.lower())
    if file_format not in _WRITTEN:
        raise ImageError(f"{path} has no suffix of an image format that can be written; use .png, .jpg or .webp.")
    return file_format


def _line(error: BaseException) -> str:
    """The message of another library's error, in one short line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:120]
