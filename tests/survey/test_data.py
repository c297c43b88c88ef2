"""Data: folders, tables, lists and data sets; labels; samples that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from netlens.classes import ClassNames
from netlens.errors import ImageError, NetLensError, NonFiniteError
from netlens.flat import FlatModel
from netlens.survey import Predictions, Survey, SurveyResult, TopK
from netlens.survey._data import data_from
from netlens.survey._files import Files
from netlens.survey._items import Items
from tests.survey import whole


def picture(path: Path, seed: int = 0, side: int = whole.SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 4, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def labels(data: Any, classes: list[str] | None = None) -> dict[str, int]:
    files = data_from(data, None if classes is None else ClassNames(classes))
    assert isinstance(files, Files)
    return dict(zip(files.names, files.labels, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b_b/2.png", "b_b/deep/1.png", "a/3.PNG"):
        picture(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_folder_by_class(folder: Path) -> None:
    assert labels(folder) == {"a/3.PNG": 0, "b_b/2.png": 1, "b_b/deep/1.png": 1}
    assert labels(str(folder), ["B b", "c", "A"]) == {"a/3.PNG": 2, "b_b/2.png": 0, "b_b/deep/1.png": 0}
    assert labels(folder, ["x", "y"]) == {"a/3.PNG": 0, "b_b/2.png": 1, "b_b/deep/1.png": 1}
    picture(folder / "top.png")
    assert labels(folder)["top.png"] == -1


@pytest.mark.parametrize("classes", [["a", "c", "d"], ["x", "y", "z"], ["a", "c"]])
def test_folders_that_are_no_classes_are_refused(folder: Path, classes: list[str]) -> None:
    with pytest.raises(NetLensError, match="no class of the network"):
        labels(folder, classes)


def test_a_table(folder: Path) -> None:
    (folder / "t.csv").write_text("label,image\r\n1,a/3.PNG\r\n,b_b/2.png\r\n", encoding="utf-8-sig")
    assert labels(folder / "t.csv", ["x", "y"]) == {"a/3.PNG": 1, "b_b/2.png": -1}
    (folder / "t.csv").write_text("image\na/3.PNG\n")
    assert labels(folder / "t.csv") == {"a/3.PNG": -1}
    (folder / "t.csv").write_text("a/3.PNG,1\n")
    with pytest.raises(NetLensError, match="no column `image`"):
        labels(folder / "t.csv")
    (folder / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NetLensError, match="cannot be read"):
        labels(folder / "t.csv")
    with pytest.raises(NetLensError, match="cannot be read"):
        labels(folder / "nothing.csv")


def test_a_list_of_files(folder: Path) -> None:
    files = [folder / "a" / "3.PNG", str(folder / "b_b" / "2.png")]
    assert list(labels(files).values()) == [-1, -1]
    assert list(labels([(files[0], "y"), (files[1], 0)], ["x", "y"]).values()) == [1, 0]
    assert list(labels([(files[0], 1), (files[1], np.int64(0))], ["1", "0"]).values()) == [1, 0]
    with pytest.raises(NetLensError, match="a label of a file"):
        labels([(files[0], 1.5)])


@pytest.mark.parametrize("data", [[], 3, whole.Samples(0), Path("/dev/null")])
def test_what_is_no_data_is_refused(data: Any) -> None:
    with pytest.raises(NetLensError):
        data_from(data, None)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no images"):
        data_from(tmp_path, None)


def survey(data: Any) -> SurveyResult:
    return Survey(whole.flat(), data, [TopK("4", 99), Predictions()], shard=3, progress=False).run()


def test_samples_that_cannot_be_read_are_listed_and_left_out(tmp_path: Path) -> None:
    files: list[Path] = [picture(tmp_path / f"{i}.png", i) for i in range(8)]
    files[2].write_bytes(files[2].read_bytes()[:-40])
    files[4] = tmp_path / "missing.png"
    result = survey([(file, 1) for file in files])
    assert [(one.sample, one.name) for one in result.unreadable] == [(2, str(files[2])), (4, str(files[4]))]
    assert "damaged" in result.unreadable[0].reason and "does not exist" in result.unreadable[1].reason
    rest = [file for i, file in enumerate(files) if i not in (2, 4)]
    others = survey([(file, 1) for file in rest])
    assert result.predictions.samples.tolist() == [0, 1, 3, 5, 6, 7]
    assert torch.equal(result.losses.values, others.losses.values)
    assert [p.value for p in result.top("4", 0)] == [p.value for p in others.top("4", 0)]
    assert len(result) == 8


def test_a_survey_in_which_nothing_can_be_read(tmp_path: Path) -> None:
    result = survey([tmp_path / "a.png", tmp_path / "b.png"])
    assert len(result.unreadable) == 2
    assert result.confusion.numel() == len(result.losses.top(5)) == 0


class Opens:
    """A data set that opens files by itself, and has an item with NaN."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if index == 1:
            raise FileNotFoundError("gone")
        return torch.full((3, whole.SIZE, whole.SIZE), torch.nan if index == 2 else 1.0), 0


def test_items_that_cannot_be_read_are_listed() -> None:
    result = survey(Opens())
    assert [(one.sample, one.name) for one in result.unreadable] == [(1, "#1"), (2, "#2")]
    assert result.predictions.samples.tolist() == [0, 3]


def test_a_data_set_may_give_pictures_without_labels(tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{i}.png", i) for i in range(3)]
    pictures = [Image.open(file).copy() for file in files]
    assert isinstance(data_from(pictures, None), Items)
    assert [p.value for p in survey(pictures).top("4", 1)] == [p.value for p in survey(files).top("4", 1)]


def test_pictures_of_several_sizes_run_in_groups() -> None:
    network = whole.flat()
    sizes = [12, 16, 12, 14, 16]
    data = [torch.full((3, side, side), float(i)) for i, side in enumerate(sizes)]
    result = Survey(network, data, [TopK("1", 9)], progress=False).run()
    for channel in range(5):
        peaks = {peak.sample: peak for peak in result.top("1", channel)}
        for i, x in enumerate(data):
            assert peaks[i].value == network(x[None], until="1")[0, channel].max()
            assert peaks[i].box[1] <= sizes[i] and peaks[i].box[3] <= sizes[i]


class Asking(nn.Module):
    """A network whose code asks for the size of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.large(x) if x.shape[2] > 10 else self.small(x)
        return torch.relu(y)


def test_a_network_is_unrolled_for_the_size_of_the_data() -> None:
    network = Asking().eval()
    flat = FlatModel.from_nn_Module(network, example=torch.zeros(1, 3, 8, 8))
    assert flat.assumptions
    samples = whole.Samples(4)
    result = Survey(flat, samples, [TopK("relu", 4)], progress=False).run()
    with torch.no_grad():
        highest = network(samples.images).flatten(2).amax(2)
    for channel in range(4):
        values = {peak.sample: peak.value for peak in result.top("relu", channel)}
        assert [values[i] for i in range(4)] == pytest.approx(highest[:, channel].tolist())


def test_a_label_that_is_no_class_and_nan_in_a_layer_are_errors() -> None:
    samples = whole.Samples(5)
    samples.labels[3] = whole.CLASSES
    with pytest.raises(NetLensError, match="sample 3 has the label 6"):
        survey(samples)
    samples = whole.Samples(5)
    samples.images[4] = 3e38
    with pytest.raises(NonFiniteError, match="#4"):
        survey(samples)
