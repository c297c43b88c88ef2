"""The little world as a folder: what it holds, and that it appears whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netlens import images
from netlens.errors import ImageError
from netlens.world.folder import folder_of, write_world
from netlens.world.scene import CLASSES, scene


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pictures_and_masks_are_those_of_the_scenes(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "world", 31, seed=3, size=32, progress=False)
    assert sorted(path.name for path in folder.iterdir()) == ["images", "masks", "world.json"]
    for part in ("images", "masks"):
        assert len([*(folder / part).rglob("*.png")]) == 31
        assert {path.name for path in (folder / part).iterdir()} == {*map(folder_of, CLASSES)}
    for i in (0, 17, 30):
        place = f"{folder_of(CLASSES[i % 15])}/{i:02}.png"
        expected = scene((3, i), 32, i % 15)
        assert np.array_equal(np.array(Image.open(folder / "images" / place)), expected.image)
        assert np.array_equal(np.array(Image.open(folder / "masks" / place)), expected.mask * np.uint8(255))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    one, same, other = (
        content(write_world(tmp_path / str(i), 3, seed=seed, size=32, progress=False))
        for i, seed in enumerate((0, 0, 1))
    )
    assert one == same
    assert one.keys() == other.keys() and one != other


def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert write_world(folder, 2, size=32, progress=False) == folder  # empty
    written = content(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_world(folder, 2, size=32, progress=False)  # the same world: nothing to do
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    for options in ({"n": 3}, {"n": 2, "seed": 1}, {"n": 2, "size": 64}):
        with pytest.raises(ImageError, match="not empty"):
            write_world(folder, progress=False, **{"size": 32, **options})
    assert content(folder) == written
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    for path in (other, other / "thesis.txt"):
        with pytest.raises(ImageError, match="not empty"):
            write_world(path, 2, size=32, progress=False)
    assert content(other) == {"thesis.txt": b"mine"}


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, count = images.save, []

    def save(*arguments):  # type: ignore[no-untyped-def]
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return saved(*arguments)

    monkeypatch.setattr(images, "save", save)
    with pytest.raises(KeyboardInterrupt):
        write_world(tmp_path / "world", 9, size=32, progress=False)
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be written"):
        write_world(tmp_path / "no" / "such" / "folder", 1, progress=False)
