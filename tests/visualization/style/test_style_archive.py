"""A batch in a .zip gives what its files give, and its names cannot lead out of it."""

import json
import zipfile

import pytest

from netlens.errors import NetLensError
from netlens.visualization.style import BATCH, Batch, packed, unpacked
from netlens.visualization.style import _archive as archive_module
from tests.visualization.style.batches import batch_file, opener


@pytest.fixture
def files(tmp_path):
    batch_file(tmp_path)
    return tmp_path


def zipped(files, **changes):
    whole = json.loads((files / "batch.json").read_text()) | changes
    pictures = {path.name: path.read_bytes() for path in files.glob("*.png")}
    path = files / "all.zip"
    path.write_bytes(packed(whole["pairs"], whole["settings"], pictures))
    return path


def test_a_packed_batch_asks_for_the_same_pictures_and_goes_afterwards(files):
    plain = Batch.read(files / "batch.json")
    with unpacked(zipped(files)) as path:
        batch = Batch.read(path, root=path.parent)
        assert [job.request for job in batch.jobs] == [job.request for job in plain.jobs]
        outcomes = list(batch.run(files / "out", opener, progress=False))
        assert [outcome.what for outcome in outcomes] == ["made"] * 4
    assert not path.exists()
    assert all(outcome.result.is_file() for outcome in outcomes)


def test_equal_batches_are_equal_files(files):
    assert zipped(files).read_bytes() == zipped(files).read_bytes()


def test_another_file_is_left_as_it_is(files):
    with unpacked(files / "batch.json") as path:
        assert path == files / "batch.json"
    assert path.is_file()


@pytest.mark.parametrize(
    "changes",
    [
        {"pairs": [{"content": "../cat.png", "style": "waves.png"}]},
        {"pairs": [{"content": "cat.png", "style": ["waves.png", "/etc/hostname"]}]},
        {"pairs": [{"content": "cat.png", "style": "waves.png", "style_mask": "../mask.png"}]},
        {"pairs": [{"content": "cat\0.png", "style": "waves.png"}]},
        {"settings": {"a": {"start": "../cat.png"}}},
    ],
)
def test_names_that_lead_out_of_the_archive_are_refused(files, changes):
    with pytest.raises(NetLensError, match="leads out of the folder of the pictures") as caught:  # noqa: SIM117
        with unpacked(zipped(files, **changes)) as path:
            Batch.read(path, root=path.parent)
    assert "netlens-batch-" not in str(caught.value)


def test_a_link_that_leads_out_is_refused(files):
    inner = files / "inner"
    inner.mkdir()
    for name in ("batch.json", "waves.png", "dots.png", "mask.png"):
        (inner / name).write_bytes((files / name).read_bytes())
    (inner / "cat.png").symlink_to(files / "cat.png")
    Batch.read(inner / "batch.json")
    with pytest.raises(NetLensError, match="leads out"):
        Batch.read(inner / "batch.json", root=inner)


def test_damaged_foreign_and_large_archives_are_refused(files, monkeypatch):
    path = zipped(files)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NetLensError, match=r"all\.zip is no \.zip that can be read"), unpacked(path):
        pass
    with zipfile.ZipFile(files / "other.zip", "w") as other:
        other.writestr("readme.txt", "nothing")
    with pytest.raises(NetLensError, match=f"holds no {BATCH}"), unpacked(files / "other.zip"):
        pass
    path.write_bytes(whole)
    monkeypatch.setattr(archive_module, "MOST_BYTES", 1000)
    with pytest.raises(NetLensError, match="divide the batch"), unpacked(path):
        pass
    with pytest.raises(NetLensError, match="does not exist"), unpacked(files / "gone.zip"):
        pass


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damaged_bytes_are_told_in_one_line_however_they_are_compressed(tmp_path, kind):
    path = tmp_path / "batch.zip"
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr(BATCH, json.dumps({"pairs": list(range(1000))}))
        begin = archive.getinfo(BATCH).header_offset + 30 + len(BATCH)
    whole = bytearray(path.read_bytes())
    whole[begin + 9 : begin + 60] = b"\xff" * 51
    path.write_bytes(whole)
    with pytest.raises(NetLensError, match=r"batch\.zip is no \.zip that can be read"), unpacked(path):
        pass


def test_a_bound_of_the_reader_holds(files):
    path = zipped(files)
    with unpacked(path, 2**20) as file:
        assert file.is_file()
    with pytest.raises(NetLensError, match="divide the batch"), unpacked(path, 1000):
        pass
