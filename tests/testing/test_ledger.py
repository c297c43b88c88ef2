"""The pictures of claims that do not hold: where they are, and that nothing is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from netlens import NetLens
from netlens.show import outlined
from netlens.testing import _ledger as ledgers
from netlens.testing import assert_looks_at
from tests.testing.networks import LEFT, RIGHT, linear, ones


def claim(share: float = 0.9) -> str:
    """A claim that does not hold, and its message."""
    with pytest.raises(AssertionError) as caught:
        assert_looks_at(NetLens(linear(), ones()), RIGHT, share, "input_x_gradient")
    return str(caught.value)


def ledger_of(folder: Path, **options: object) -> ledgers.Ledger:
    return ledgers.Ledger(lambda: folder, "tests/test_a.py::test_b[ü/1]", **options)


def test_the_message_names_the_picture(tmp_path: Path) -> None:
    with ledgers.opened(ledger_of(tmp_path / "new" / "folder")):
        message = claim()
    (path,) = (tmp_path / "new" / "folder").iterdir()
    assert path.name == "tests-test_a.py-test_b-ü-1-looks_at.png"
    assert f"look at   {path}\n" in message
    with Image.open(path) as image:
        assert image.width > 800 and image.height > 400  # two tiles side by side
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_no_file_is_overwritten_and_the_same_picture_is_written_once(tmp_path: Path) -> None:
    mine = tmp_path / "tests-test_a.py-test_b-ü-1-looks_at.png"
    mine.write_bytes(b"mine")
    with ledgers.opened(ledger_of(tmp_path)):
        messages = [claim(), claim()]
    assert mine.read_bytes() == b"mine"
    second = tmp_path / "tests-test_a.py-test_b-ü-1-looks_at-2.png"
    assert all(str(second) in message for message in messages)
    assert sorted(tmp_path.iterdir()) == sorted([mine, second])


def test_a_picture_that_cannot_be_written_leaves_nothing_and_hides_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> Path:
        raise OSError(28, "No space left on device")

    with ledgers.opened(ledger_of(tmp_path / "a")), monkeypatch.context() as patch:
        patch.setattr("netlens.files.write", full)
        message = claim()
    assert "measured  0:" in message and "could not be saved (No space left on device)" in message
    assert not list((tmp_path / "a").iterdir())
    (tmp_path / "file").write_bytes(b"")
    with ledgers.opened(ledger_of(tmp_path / "file")):
        assert "measured  0:" in claim()


def test_claims_that_hold_are_drawn_only_for_a_page(tmp_path: Path) -> None:
    for draws in (False, True):
        with ledgers.opened(ledger_of(tmp_path / "none", draws=draws)) as ledger:
            assert_looks_at(NetLens(linear(), ones()), LEFT, 0.9, "input_x_gradient")
        assert len(ledger.entries) == draws and not (tmp_path / "none").exists()
    (entry,) = ledger.entries
    assert (entry.holds, entry.measured, entry.wanted, entry.saved) == (True, "1", "at least 0.9", "")
    ((image, heat),) = entry.views
    assert image.src.startswith("data:image/jpeg;base64,") and (heat.title, heat.note) == (
        "InputXGradient",
        "1 inside the mask",
    )
    assert ledgers.Entry.unpacked(entry.packed()) == entry


def test_without_pytest_the_picture_is_in_a_new_folder_for_temporary_files(tmp_path: Path) -> None:
    code = """
from netlens import NetLens
from netlens.testing import assert_looks_at
from tests.testing.networks import RIGHT, linear, ones
assert_looks_at(NetLens(linear(), ones()), RIGHT, 0.9, "input_x_gradient")
"""
    root = Path(__file__).parents[2]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert "AssertionError: assert_looks_at: it is not so that" in answer.stderr
    (path,) = tmp_path.glob("netlens-failures-*/looks_at.png")
    assert str(path) in answer.stderr and path.parent.stat().st_mode & 0o077 == 0


def test_an_outline_is_where_the_region_ends_and_at_no_rim() -> None:
    region = torch.zeros(10, 10, dtype=torch.bool)
    region[:, :5] = True
    drawn = outlined(np.full((100, 100, 4), 7, dtype=np.uint8), region)
    changed = (drawn != 7).any(-1)
    columns = np.flatnonzero(changed.any(0))
    assert (changed[:, columns]).all() and columns.min() >= 47 and columns.max() <= 52 and len(columns) == 4
