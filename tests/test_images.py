"""Every kind of picture becomes the right RGB; every bad one is an ImageError in one line that names it."""

import contextlib
import io
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from netlens import images
from netlens.errors import ImageError, NonFiniteError


def picture(mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, rows: bytes = b"", depth: int = 8, color: int = 2) -> bytes:
    """A PNG written by hand, so that the header may lie and the depths be those that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def only_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


# sources


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_path_bytes_picture_and_array_are_one_image(tmp_path, file_format):
    expected = picture()
    path = tmp_path / f"a.{file_format.lower()}"
    path.write_bytes(encoded(expected, file_format, **({"lossless": True} if file_format == "WEBP" else {})))
    array = np.asarray(expected)
    for source in (path, str(path), path.read_bytes(), expected, array, array.transpose(2, 0, 1), array / 255):
        loaded = images.load(source)
        assert loaded.mode == "RGB"
        assert np.array_equal(pixels(loaded), pixels(expected))


@pytest.mark.parametrize("value", range(0, 256, 5))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_a_gray_level_is_the_same_in_every_type_however_dark_the_array(dtype, value):
    array = np.full((5, 7), {np.uint8: value, np.uint16: value * 257}.get(dtype, value / 255), dtype=dtype)
    assert np.array_equal(pixels(images.load(array)), np.full((5, 7, 3), value))


def test_booleans_are_black_and_white():
    assert pixels(images.load(np.array([[True, False]]))).tolist() == [[[255] * 3, [0] * 3]]


def test_the_channel_axis_is_found_at_either_end_or_refused():
    for shape, size in {
        (5, 7, 3): (7, 5),
        (3, 5, 7): (7, 5),
        (5, 7, 1): (7, 5),
        (4, 5, 7): (7, 5),
        (3, 7): (7, 3),
    }.items():
        assert images.load(np.zeros(shape, dtype=np.uint8)).size == size
    for shape in [(3, 5, 3), (1, 5, 4), (5, 6, 7), (2,), (1, 3, 5, 7), (0, 5, 3)]:
        with pytest.raises(ImageError, match=r"shape \("):
            images.load(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("array", [np.full((4, 5), 2.0), np.full((4, 5), -0.5), np.full((4, 5), 7), np.array([["a"]])])
def test_arrays_of_unknown_range_are_refused(array):
    with pytest.raises(ImageError, match=r"\[0,1\]") as error:
        images.load(array)
    only_line(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_array_with_a_hole_is_refused(value):
    array = np.zeros((6, 5, 3))
    array[1, 2, 0] = value
    with pytest.raises(NonFiniteError, match="NaN or Inf"):
        images.load(array)


@pytest.mark.parametrize("source", [None, 3, object(), {"a": 1}, torch.zeros(3, 4, 4)])
def test_what_is_no_image_is_named_by_its_type(source):
    with pytest.raises(ImageError, match=type(source).__name__):
        images.load(source)


# modes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path, orientation):
    # where the upper left and upper right corner lie in the file, by the EXIF standard
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    loaded = images.load(path)
    assert np.array_equal(pixels(loaded), upright)
    assert np.array_equal(pixels(images.load(loaded)), upright)
    with Image.open(path) as opened:
        assert np.array_equal(pixels(images.load(opened)), upright)


def test_a_broken_exif_block_does_not_hide_the_photo():
    assert images.load(encoded(picture(), "JPEG", exif=b"Exif\0\0nonsense")).size == (8, 6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_opaque_modes_are_as_pillow_converts_them(mode):
    image = picture(mode)
    assert np.array_equal(pixels(images.load(image)), pixels(image.convert("RGB")))


def test_cmyk_jpeg():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert abs(pixels(images.load(encoded(red, "JPEG", quality=100))) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("alpha", [0, 64, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA", "La", "RGBa", "PA"])
def test_transparency_is_laid_on_white(mode, alpha):
    gray = 100
    straight = (
        Image.new("LA", (2, 2), (gray, alpha))
        if mode in ("LA", "La")
        else Image.new("RGBA", (2, 2), (gray,) * 3 + (alpha,))
    )
    if mode == "PA":
        image = Image.new("P", (2, 2), 0)
        image.putpalette([gray] * 3)
        image = image.convert("PA")
        image.putalpha(alpha)
    else:
        image = straight.convert(mode)
    expected = gray * alpha / 255 + 255 * (1 - alpha / 255)
    assert abs(pixels(images.load(image)) - expected).max() <= 2  # premultiplied modes round twice


def test_a_transparent_palette_entry_and_a_transparent_color_are_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    for data in (encoded(palette, "PNG", transparency=0), encoded(palette, "GIF", transparency=0)):
        assert pixels(images.load(data)).tolist() == [[[255, 255, 255], [0, 255, 0]]]
    color = encoded(palette.convert("RGB"), "PNG", transparency=(255, 0, 0))
    assert pixels(images.load(color)).tolist() == [[[255, 255, 255], [0, 255, 0]]]


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(file_format):
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    image = Image.fromarray(levels * 257)
    assert np.array_equal(pixels(images.load(encoded(image, file_format)))[..., 0], levels)


def test_sixteen_bits_per_color():
    row = b"\0" + struct.pack(">6H", 65535, 0, 32768, 256 * 10, 0, 0)
    assert pixels(images.load(png(2, 1, row, depth=16))).tolist() == [[[255, 0, 128], [10, 0, 0]]]


def test_a_dark_sixteen_bit_png_stays_dark():
    assert pixels(images.load(encoded(Image.fromarray(np.full((3, 3), 200, dtype=np.uint16)), "PNG"))).max() == 1


def test_32_bit_floats_in_the_unit_interval_are_scaled_and_others_refused():
    ramp = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(pixels(images.load(encoded(Image.fromarray(ramp), "TIFF")))[..., 1], np.rint(ramp * 255))
    with pytest.raises(ImageError, match="from 0 to 300"):
        images.load(Image.fromarray(ramp * 300))
    with pytest.raises(NonFiniteError):
        images.load(Image.fromarray(ramp * np.nan))


@pytest.mark.parametrize("levels", [(-1, 5), (0, 70_000), (0, 200)])
def test_32_bit_integers_of_unknown_white_are_refused(levels):
    with pytest.raises(ImageError, match=f"from {levels[0]} to {levels[1]}"):
        images.load(Image.fromarray(np.array([levels], dtype=np.int32)))


def test_32_bit_integers_that_hold_16_bits_are_scaled():
    assert pixels(images.load(Image.fromarray(np.array([[0, 257 * 9, 65535]], dtype=np.int32))))[0, :, 0].tolist() == [
        0,
        9,
        255,
    ]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_one_pixel_is_an_image(mode):
    assert images.load(Image.new(mode, (1, 1))).size == (1, 1)


def test_of_an_animation_the_first_frame():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "lime", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert images.load(data).getpixel((0, 0)) == (255, 0, 0)


# bad files


def bad_files() -> dict[str, bytes]:
    jpeg = encoded(picture(size=(200, 200)), "JPEG")
    compressed = encoded(picture(size=(200, 200)), "PNG")
    return {
        "empty.jpg": b"",
        "text.jpg": b"not a picture at all, only renamed",
        "html.png": b"<!doctype html><title>404</title>",
        "short.jpg": jpeg[: len(jpeg) // 2],
        "header.jpg": jpeg[:20],
        "short.png": compressed[: len(compressed) // 2],
        "garbled.png": compressed[:200] + b"7" * 500 + compressed[700:],
        "short.gif": encoded(picture(size=(200, 200)), "GIF")[:900],
        "short.bmp": encoded(picture(size=(200, 200)), "BMP")[:9000],
        "short.webp": encoded(picture(size=(200, 200)), "WEBP")[:900],
        "short.tif": encoded(picture(size=(200, 200)), "TIFF")[:9000],
        "short.qoi": b"qoif" + struct.pack(">IIBB", 50, 50, 3, 0) + b"\xfe",
        "norows.png": png(100, 100),
        "zero.png": png(0, 5),
        "drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF",
        "bomb.png": png(20_000, 20_000),
        "worse.png": png(200_000, 200_000),
    }


@pytest.mark.parametrize("name", bad_files())
@pytest.mark.filterwarnings("error")
def test_a_bad_file_is_one_line_that_names_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bad_files()[name])
    with pytest.raises(ImageError) as error:
        images.load(path)
    line = only_line(error)
    assert line.startswith(str(path)) and line.endswith(".") and ";" in line
    with pytest.raises(ImageError, match="the given data"):
        images.load(path.read_bytes() or b" ")


@pytest.mark.parametrize("pillows_limit", [None, 1000, Image.MAX_IMAGE_PIXELS])
def test_the_size_is_checked_before_decoding_whatever_pillows_own_limit(monkeypatch, pillows_limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_limit)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="89,478,485 pixels"):
        images.load(png(20_000, 20_000))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.jpg does not exist"):
        images.load(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        images.load(tmp_path)
    for path in ("a\0b.jpg", "x" * 5000):
        with pytest.raises(ImageError, match="cannot be read"):
            images.load(path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "private.jpg"
    path.write_bytes(encoded(picture(), "JPEG"))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom no permission stops
    with pytest.raises(ImageError, match=r"private\.jpg cannot be read \(Permission denied\)"):
        images.load(path)


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_no_global_state_changes_and_no_file_stays_open(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(), "PNG"))
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    open_files = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for name, data in {"good.png": path.read_bytes(), **bad_files()}.items():
        (tmp_path / name).write_bytes(data)
        with contextlib.suppress(ImageError):
            images.load(tmp_path / name)
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before
    if open_files:
        assert len(list(Path("/proc/self/fd").iterdir())) == open_files


def test_threads_that_read_at_once_leave_no_filter_behind():
    data, before = encoded(picture(), "PNG"), list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: images.load(data), range(2000)))
    assert list(warnings.filters) == before


def test_the_given_picture_is_left_alone():
    image = picture("RGBA")
    before = image.tobytes()
    loaded = images.load(image)
    loaded.paste("red", (0, 0, 8, 6))
    rgb = picture()
    images.load(rgb).paste("red", (0, 0, 8, 6))
    assert image.mode == "RGBA" and image.tobytes() == before and rgb.tobytes() == picture().tobytes()


# tensors out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8])
def test_to_array_inverts_division_by_255(dtype):
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    values = levels if dtype == torch.uint8 else (levels.double() / 255).to(dtype)
    # bfloat16 has 8 bits of precision, and so cannot tell all levels apart
    expected = (values.double() * 255).round().to(torch.uint8) if dtype == torch.bfloat16 else levels
    assert np.array_equal(images.to_array(values), expected.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_to_pil_keeps_the_layout(channels, mode):
    x = torch.rand(channels, 5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    image = images.to_pil(x)
    assert (image.mode, image.size) == (mode, (7, 5))
    assert np.array_equal(np.asarray(image).reshape(5, 7, channels), images.to_array(x))


def test_tensors_that_are_no_picture():
    for shape in [(5, 7), (2, 5, 7), (1, 3, 5, 7), (3, 0, 7)]:
        with pytest.raises(ImageError, match="shape"):
            images.to_array(torch.zeros(shape))
    with pytest.raises(ImageError, match="from -3 to -3"):
        images.to_array(torch.full((3, 2, 2), -3.0))
    with pytest.raises(NonFiniteError):
        images.to_array(torch.full((3, 2, 2), torch.nan))


# saving


def test_saved_and_loaded_is_the_same(tmp_path):
    x = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for source in (x, x / 255, images.to_pil(x), images.to_array(x)):
        path = images.save(source, tmp_path / "a.PNG")
        assert np.array_equal(pixels(images.load(path)), images.to_array(x))
    assert [file.name for file in tmp_path.iterdir()] == ["a.PNG"]


def test_a_transparent_picture_is_saved_as_jpeg_on_white(tmp_path):
    path = images.save(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), tmp_path / "a.jpg")
    assert pixels(images.load(path)).min() == 255


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = images.save(picture(), tmp_path / "a.png")
    before = path.read_bytes()

    def half(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", half)
    with pytest.raises(ImageError, match=r"a\.png cannot be written \(No space left on device\)"):
        images.save(picture("L"), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_permissions_too(tmp_path):
    target, link = tmp_path / "target.png", tmp_path / "link.png"
    images.save(picture(), target)
    target.chmod(0o600)
    link.symlink_to(target)
    before = target.read_bytes()
    images.save(picture("L"), link)
    assert link.is_symlink() and target.read_bytes() != before and target.stat().st_mode & 0o777 == 0o600


def test_what_a_format_cannot_hold_is_told(tmp_path):
    with pytest.raises(ImageError, match="70000 × 1 pixels cannot be written as JPEG"):
        images.save(np.zeros((1, 70_000), dtype=np.uint8), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.psd", "a.ico", "a.xbm", "missing/a.png"])
def test_an_impossible_target(tmp_path, name):
    with pytest.raises(ImageError, match=name):
        images.save(picture(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_importing_is_light():
    code = "import netlens.images, sys; print(sorted({'pyimgy', 'matplotlib', 'torchvision'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_pyimgys_torch_patch_is_never_loaded():
    images.load(np.zeros((4, 5), dtype=np.uint8))
    assert "pyimgy.optional.torch" not in sys.modules


def test_a_photo_is_written_as_it_was_held(tmp_path):
    stored = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "phone.png", exif=exif)
    with Image.open(tmp_path / "phone.png") as photo:
        images.save(photo, tmp_path / "out.png")
    assert np.array_equal(pixels(images.load(tmp_path / "out.png")), pixels(images.load(tmp_path / "phone.png")))
