"""The studio keeps pictures and results in bounded memory, and looks at the size of a file before it decodes it."""

from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image

from netlens.errors import ImageError
from netlens.playground import Studio
from netlens.playground import _studio as studio_module
from netlens.playground._store import Store, digest
from netlens.playground._studio import class_of


def test_scenes_are_there_without_a_folder(studio):
    assert len(studio.pictures) == 12
    assert studio.picture("scene 3").size == (128, 128)


def test_a_folder_is_listed_with_its_subfolders(tmp_path, studio):
    (tmp_path / "birds").mkdir()
    for name in ("b.png", "birds/a.JPG"):
        Image.new("RGB", (20, 10), "red").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    folder_studio = Studio(studio.flat, folder=tmp_path)
    assert list(folder_studio.pictures) == ["b.png", "birds/a.JPG"]
    assert folder_studio.picture("birds/a.JPG").size == (20, 10)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "scene 99"])
def test_only_listed_pictures_are_given(studio, name):
    with pytest.raises(ImageError, match="is not here"):
        studio.picture(name)


def test_wrong_folders_are_refused(tmp_path, studio):
    with pytest.raises(ImageError, match="no folder"):
        _ = Studio(studio.flat, folder=tmp_path / "nowhere").pictures
    with pytest.raises(ImageError, match="holds no images"):
        _ = Studio(studio.flat, folder=tmp_path).pictures


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_decoding(tmp_path, studio, monkeypatch):
    (tmp_path / "huge.png").write_bytes(png_of(8000, 8000))
    monkeypatch.setattr(studio_module.images, "load", lambda path: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=r"huge\.png is 8000 × 8000, over 40,000,000 pixels"):
        studio.keep(tmp_path / "huge.png")


def test_too_many_bytes_are_refused_before_reading(tmp_path, studio, monkeypatch):
    monkeypatch.setattr(studio_module, "MOST_BYTES", 100)
    (tmp_path / "long.png").write_bytes(b"x" * 101)
    with pytest.raises(ImageError, match=r"long\.png has over"):
        studio.keep(tmp_path / "long.png")


def test_messages_do_not_tell_where_a_file_lies(tmp_path, studio):
    (tmp_path / "wrong.jpg").write_text("no picture")
    with pytest.raises(ImageError) as caught:
        studio.keep(tmp_path / "wrong.jpg")
    assert str(caught.value).startswith("wrong.jpg is no picture that can be read, such as a JPEG, PNG")


def test_a_picture_of_a_user_is_kept_in_memory(tmp_path, studio):
    path = tmp_path / "mine.png"
    Image.new("RGB", (30, 20), "blue").save(path)
    name = studio.keep(path)
    path.unlink()
    assert studio.picture(name).getpixel((0, 0)) == (0, 0, 255)


def test_the_oldest_values_go_and_the_newest_stays():
    store = Store(most=100, size=len)
    for key, length in (("a", 40), ("b", 40), ("a", 10), ("c", 60)):
        store.put(key, "x" * length)
    assert (store.get("a"), store.get("b")) == ("x" * 10, None)
    store.put("d", "x" * 500)
    assert len(store) == 1
    assert store.get("d") == "x" * 500


def test_keys_tell_parts_apart():
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")


def test_a_class_is_read_from_a_choice_or_from_what_was_typed():
    assert [class_of(text) for text in ("3: dotted disc", " 3 ", "dotted disc", "", None)] == [
        3,
        3,
        "dotted disc",
        None,
        None,
    ]
