"""Tars and Parquet files: files that hold many samples each. They give what the same pictures give as files."""

from __future__ import annotations

import io
import json
import pickle
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from netlens.classes import ClassNames
from netlens.errors import ImageError, NetLensError
from netlens.flat import FlatModel
from netlens.survey import Predictions, Survey, SurveyResult, TopK
from netlens.survey._data import data_from
from netlens.survey._samples import Data
from tests.survey import whole

CLASSES = [f"class {i}" for i in range(whole.CLASSES)]


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 4, (whole.SIZE, whole.SIZE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, octets in members.items():
            information = tarfile.TarInfo(name)
            information.size = len(octets)
            file.addfile(information, io.BytesIO(octets))
    return path


def table(path: Path, columns: Mapping[str, Sequence[Any]], names: Sequence[str] | None = None, rows: int = 3) -> Path:
    """A Parquet file with pictures as Hugging Face stores them."""
    columns = dict(columns)
    if isinstance(columns.get("image"), list):
        columns["image"] = [{"bytes": octets, "path": f"{i}.png"} for i, octets in enumerate(columns["image"])]
    arrow_table = pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(names)}}
        arrow_table = arrow_table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(arrow_table, path, row_group_size=rows)
    return path


def named() -> FlatModel:
    flat = whole.flat()
    return FlatModel.from_nn_Module(whole.network(), adapter=flat.adapter, name="whole", classes=CLASSES)


def survey(data: Any, **options: Any) -> SurveyResult:
    return Survey(named(), data, [TopK("4", 3), Predictions()], shard=4, progress=False, **options).run()


def equal(a: SurveyResult, b: SurveyResult) -> bool:
    states = zip(a.states, b.states, strict=True)
    return all(x.keys() == y.keys() and all(x[name].equal(y[name]) for name in x) for x, y in states)


def labels(data: Any, classes: Sequence[str] | None = CLASSES) -> list[int]:
    samples = data_from(data, None if classes is None else ClassNames(classes))
    return [samples.load(i).label for i in range(len(samples))]


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[Path, int]]:
    """Ten pictures as files, with labels."""
    (tmp_path / "files").mkdir()
    pairs = [(tmp_path / "files" / f"{i}.png", i % whole.CLASSES) for i in range(10)]
    for i, (path, _) in enumerate(pairs):
        path.write_bytes(png(i))
    return pairs


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """The same pictures in two tars."""
    paths = []
    for number, indices in enumerate((range(6), range(6, 10))):
        members = {"README.md": b"not a sample"}
        for i in indices:
            parts = {f"./{i:04}.cls": str(i % whole.CLASSES).encode(), f"./{i:04}.input.PNG": png(i)}
            members |= parts if i % 2 else dict(reversed(parts.items()))
        paths.append(tar(tmp_path / f"shard-{number}.tar", members))
    return paths


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """The same pictures in two Parquet files, with classes in another order."""
    paths = []
    for number, indices in enumerate((range(7), range(7, 10))):
        turned = [whole.CLASSES - 1 - i % whole.CLASSES for i in indices]
        columns = {"label": turned, "image": [png(i) for i in indices]}
        paths.append(table(tmp_path / f"train-{number}.parquet", columns, CLASSES[::-1]))
    return paths


def test_they_give_what_files_give(
    files: list[tuple[Path, int]], shards: list[Path], tables: list[Path], tmp_path: Path
) -> None:
    expected = survey(files)
    assert equal(survey(shards), expected)
    assert equal(survey(str(tmp_path / "shard-*.tar")), expected)
    assert equal(survey([str(path) for path in tables]), expected)
    assert equal(survey(tmp_path / "train-*.parquet"), expected)
    assert survey(shards).names[5:7] == ("shard-0.tar/./0005.input.PNG", "shard-1.tar/./0006.input.PNG")
    assert survey(tables).names[6:8] == ("train-0.parquet#6", "train-1.parquet#0")


@pytest.mark.parametrize("kind", ["shards", "tables"])
def test_a_file_that_changes_has_other_parts(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    paths: list[Path] = request.getfixturevalue(kind)
    survey(paths, parts=tmp_path / "parts")
    before = {path.name for path in (tmp_path / "parts").iterdir()}
    assert len(before) == 3
    survey(paths, parts=tmp_path / "parts")
    assert {path.name for path in (tmp_path / "parts").iterdir()} == before
    content = paths[1].read_bytes()
    paths[1].write_bytes(content)  # the second file is written anew: the parts with its samples are others
    survey(paths, parts=tmp_path / "parts")
    assert len({path.name for path in (tmp_path / "parts").iterdir()} - before) == 2


@pytest.mark.parametrize("kind", ["shards", "tables"])
def test_they_can_be_sent_to_a_process(kind: str, request: pytest.FixtureRequest) -> None:
    data = data_from(request.getfixturevalue(kind), None)
    data.load(0)
    there: Data = pickle.loads(pickle.dumps(data))
    assert len(there) == len(data) == 10
    assert [there.load(i) for i in (9, 0, 5)] == [data.load(i) for i in (9, 0, 5)]
    assert there.identity(2, 8) == data.identity(2, 8)


def test_the_labels_of_a_tar(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "a.tar",
        {
            "a.jpg": png(0), "a.json": b'{"label": "Class_2", "more": []}',
            "b.png": png(1), "b.cls": b" class 4\n",
            "deep/b.json": b'{"cls": "class 1"}', "deep/b.webp": png(2),
            "c.png": png(3), "c.json": b"no json", "c.txt": b"a caption",
            "d.png": png(4), "d.json": b'"class 5"',
        },
    )  # fmt: skip
    assert labels(path) == [2, 4, 1, -1, 5]
    assert labels(tar(tmp_path / "b.tar", {"a.png": png(0), "a.cls": b"7", "b.png": png(1), "b.json": b"9"}), None) == [
        7,
        9,
    ]
    with pytest.raises(NetLensError, match="1 of 2 labels are no class"):
        labels(tar(tmp_path / "c.tar", {"a.png": png(0), "a.cls": b"class 1", "b.png": png(1), "b.cls": b"owl"}))


def test_samples_of_a_tar_that_cannot_be_read_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"a.png": png(0), "b.png": png(1)[:-30], "c.cls": b"1", "d.png": png(3), "e.png": png(4) + bytes(400)}
    monkeypatch.setattr("netlens.survey._tars.MOST_BYTES", len(png(4)) + 399)
    survey_result = survey(tar(tmp_path / "a.tar", members))
    assert [(one.sample, one.name) for one in survey_result.unreadable] == [
        (1, "a.tar/b.png"), (2, "a.tar/c"), (4, "a.tar/e.png")
    ]  # fmt: skip
    for one, words in zip(survey_result.unreadable, ("damaged", "no picture", "over the limit"), strict=True):
        assert words in one.reason


def test_nothing_of_a_tar_is_written_and_links_are_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "inside" / "a.tar"
    path.parent.mkdir()
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(7))
    with tarfile.open(path, "w") as file:
        for name in ("../../escaped.png", str(tmp_path / "absolute.png")):
            information = tarfile.TarInfo(name)
            information.size = len(png(0))
            file.addfile(information, io.BytesIO(png(0)))
        for name, kind in (("link.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE)):
            information = tarfile.TarInfo(name)
            information.type, information.linkname = kind, str(secret)
            file.addfile(information)
    before = sorted(tmp_path.rglob("*"))
    survey_result = survey(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert len(survey_result) == 2 and not survey_result.unreadable


@pytest.mark.parametrize("compressed", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_refused(compressed: str, tmp_path: Path) -> None:
    with pytest.raises(NetLensError, match="is compressed by"):
        data_from(tar(tmp_path / "a.tar", {"a.png": png(0)}, f"w:{compressed}"), None)


def test_tars_that_break_off_or_are_none_are_refused(shards: list[Path], tmp_path: Path) -> None:
    whole_file = shards[0].read_bytes()
    for broken in (*(whole_file[:n] for n in range(0, 5000, 257)), whole_file[:5120], b"no tar"):
        (tmp_path / "a.tar").write_bytes(broken)
        with pytest.raises(NetLensError, match="no whole tar"):
            data_from(tmp_path / "a.tar", None)
    with pytest.raises(NetLensError, match="cannot be read"):
        data_from(tmp_path / "missing.tar", None)
    with pytest.raises(NetLensError, match="no file fits the pattern"):
        data_from(str(tmp_path / "none-*.tar"), None)
    with pytest.raises(NetLensError, match="several kinds"):
        data_from([shards[0], tmp_path / "a.parquet"], None)
    with pytest.raises(ImageError, match=r"give '.*\*\.tar'"):
        data_from(tmp_path, None)


def test_the_columns_of_a_parquet_file(tmp_path: Path) -> None:
    pictures = [png(0), png(1)]
    path = tmp_path / "a.parquet"
    assert labels(table(path, {"image": pictures, "label": [5, None]})) == [5, -1]
    assert labels(table(path, {"image": pictures, "labels": ["class 3", "class 0"]})) == [3, 0]
    assert labels(table(path, {"image": pictures, "width": [1, 2]})) == [-1, -1]
    assert labels(table(path, {"img": pictures, "label": [1, 2]})) == [1, 2]
    assert labels(table(path, {"label": [-1, 1], "image": pictures}, ["Class 5", "class_4"])) == [-1, 4]
    assert labels(table(path, {"label": [1, 0], "image": pictures}, ["x"] * whole.CLASSES)) == [1, 0]
    for columns, names, words in (
        ({"label": [0, 1], "image": pictures}, ["class 1", "owl"], "2 classes, of which 'owl' is no class"),
        ({"image": pictures, "label": [1.5, 2.0]}, None, "the name or the index"),
        ({"image": pictures, "label": [0, 2]}, ["class 1", "class 2"], "a row has the label 2"),
        ({"photo": pictures, "label": [1, 2]}, None, "none of pictures"),
    ):
        with pytest.raises(NetLensError, match=words):
            data_from(table(path, columns, names), ClassNames(CLASSES))


def test_rows_that_cannot_be_read_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netlens.survey._parquet.MOST_BYTES", len(png(3)) + 399)
    pictures = [png(0), None, png(2)[:-30], png(3) + bytes(400), png(4)]
    survey_result = survey(table(tmp_path / "a.parquet", {"image": pictures}))
    assert [one.name for one in survey_result.unreadable] == [f"a.parquet#{i}" for i in (1, 2, 3)]
    for one, words in zip(survey_result.unreadable, ("no bytes", "damaged", "over the limit"), strict=True):
        assert words in one.reason


def test_parquet_files_that_do_not_fit_are_refused(
    tables: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = table(tmp_path / "b.parquet", {"img": [png(0)]})
    with pytest.raises(NetLensError, match="other columns or classes"):
        data_from([*tables, other], None)
    octets = tables[0].read_bytes()
    other.write_bytes(octets[:-20])
    with pytest.raises(NetLensError, match="no whole Parquet file"):
        data_from(other, None)
    with pytest.raises(NetLensError, match="no whole Parquet file"):
        data_from(tmp_path / "missing.parquet", None)
    monkeypatch.setattr("netlens.survey._parquet._MOST_GROUP", 100)
    with pytest.raises(NetLensError, match="row_group_size"):
        data_from(tables, None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NetLensError, match=r"netlens\[survey\]"):
        data_from(tables, None)


class Dicts:
    """A data set as those of Hugging Face: its items are dicts, and it names its classes."""

    class Names:
        names = ("class 2", "class 0")

    features: Any = {"image": None, "label": Names}  # noqa: RUF012

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": Image.open(io.BytesIO(png(index))), "label": [0, 1, -1][index]}


def test_a_data_set_of_dicts() -> None:
    assert labels(Dicts()) == [2, 0, -1]
    assert labels(Dicts(), None) == [0, 1, -1]
    assert len(survey(Dicts()).predictions.samples) == 3
    with pytest.raises(NetLensError, match="no class of the network"):
        labels(Dicts(), ["class 1", "class 2", "x"])
    with pytest.raises(NetLensError, match="name the picture 'image'"):
        data_from([{"photo": 1}], None).load(0)


def test_a_name_of_two_classes_is_no_label() -> None:
    with pytest.raises(NetLensError, match="the name of the classes 0 and 2"):
        data_from([("a.png", "crane")], ClassNames(["crane", "owl", "crane"]))
