"""Results that draw themselves and become tables: crops are pixels of the pictures, tables hold the numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from netlens import open_network
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.survey import (
    ChannelStatistics,
    Predictions,
    RandomSample,
    Survey,
    SurveyResult,
    TopK,
    usual_layers,
    usual_questions,
)
from netlens.weights import build
from netlens.world.folder import write_world
from netlens.zoo import architecture
from tests.survey import whole

LAYER = "trunk_output.block1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("data") / "world", 18, progress=False) / "images"


@pytest.fixture(scope="module")
def result(world: Path) -> SurveyResult:
    return Survey(open_network(), world, usual_questions(open_network(), [LAYER], 3), progress=False).run()


def pixels_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1) / 255


def test_a_picture_is_what_the_network_sees(result: SurveyResult, world: Path) -> None:
    """The scenes have the size that the network expects, so nothing is resized."""
    assert result.pictures is not None
    for sample in (0, 7, 17):
        assert torch.allclose(result.pictures.image(sample), pixels_of(world / result.names[sample]), atol=1e-6)
        normalized = open_network().adapter.preprocessing(world / result.names[sample])
        assert torch.equal(result.pictures.input(sample), normalized)


def test_peaks_draw_as_crops_of_their_boxes(result: SurveyResult, world: Path) -> None:
    peaks = result.top(LAYER, 5)
    for peak in peaks:
        top, bottom, left, right = peak.box
        crop, title, line = peaks._drawing(peak, result.pictures)
        assert torch.allclose(crop, pixels_of(world / peak.name)[:, top:bottom, left:right], atol=1e-6)
        assert (title, line) == (Path(peak.name).stem, f"{peak.value:.3g}")
    assert peaks.show().rgba().std() > 10  # not an empty sheet


def test_a_loaded_survey_draws_when_it_knows_its_pictures(result: SurveyResult, world: Path, tmp_path: Path) -> None:
    loaded = SurveyResult.load(result.save(tmp_path / "survey.safetensors"))
    assert loaded.preprocessing == result.preprocessing
    assert loaded.top(LAYER, 5)._repr_jpeg_() is None
    with pytest.raises(NetLensError, match="with_pictures"):
        loaded.top(LAYER, 5).show()
    with pytest.raises(NetLensError, match="holds none of the 18 pictures"):
        loaded.with_pictures(tmp_path)
    moved = world.rename(world.with_name("moved"))
    try:
        again = loaded.with_pictures(moved)
        assert again.top(LAYER, 5) == loaded.top(LAYER, 5) == result.top(LAYER, 5)
        drawn = [one.losses.top(4).show().rgba() for one in (again, loaded.with_pictures(str(moved)))]
        assert np.array_equal(*drawn)
    finally:
        moved.rename(world)
    assert np.array_equal(drawn[0], result.losses.top(4).show().rgba())


def test_other_data_is_refused(result: SurveyResult) -> None:
    with pytest.raises(NetLensError, match="not the 18 of the survey"):
        result.with_pictures(whole.Samples(18))
    plain = Survey(whole.flat(), whole.Samples(5), [Predictions()], progress=False).run()
    assert plain.with_pictures(whole.Samples(5)).losses.top(1).show().rgba().shape[2] == 4


def test_a_picture_that_is_gone_is_left_out(result: SurveyResult, world: Path) -> None:
    first = world / result.losses.top(2)[0].name
    hidden = first.rename(first.with_suffix(".gone"))
    try:
        widths = [result.losses.top(n).show().rgba().shape[1] for n in (1, 2) if n == 2]
        with pytest.raises(NetLensError, match="no picture to draw"):
            result.losses.top(1).show()
    finally:
        hidden.rename(first)
    assert widths == [result.losses.top(1).show().rgba().shape[1]]


@pytest.mark.parametrize(
    "drawn",
    [
        lambda r: r,
        lambda r: r.predictions,
        lambda r: r.losses.top(5),
        lambda r: r.statistics(LAYER),
        lambda r: r.random(LAYER, 0),
    ],
)
def test_everything_draws_itself_in_a_notebook(result: SurveyResult, drawn: Any) -> None:
    data, size = drawn(result)._repr_jpeg_()
    assert data.startswith(b"\xff\xd8") and size["width"] > 200


def test_without_labels_predictions_do_not_draw() -> None:
    data = [image for image, _ in (whole.Samples(4)[i] for i in range(4))]
    plain = Survey(whole.flat(), data, [Predictions()], progress=False).run()
    assert plain.predictions._repr_jpeg_() is None and plain._repr_jpeg_() is None
    assert plain.predictions.frame()["label"].isna().all()
    with pytest.raises(NetLensError, match="no sample has a label"):
        plain.predictions.show()


def test_a_histogram_holds_all_activations(result: SurveyResult) -> None:
    statistics = result.statistics(LAYER)
    for channels in (None, [3], [0, 5]):
        edges, counts, below, above = statistics.occupied(channels)
        assert counts.sum() == (statistics.count if channels is None else statistics.count[channels]).sum()
        assert len(edges) == len(counts) + 1 and counts[0] > 0 and counts[-1] > 0
        assert not below  # a rectifier came before
        assert above == bool(
            (statistics.most if channels is None else statistics.most[channels]).max() >= statistics.edges[-1]
        )
        assert edges[0] <= 0 < edges[1]


def test_frames_hold_the_numbers(result: SurveyResult) -> None:
    predictions = result.predictions
    frame = predictions.frame()
    assert list(frame["loss"]) == predictions.losses.tolist()
    assert (frame["label"] == frame["predicted"]).mean() == predictions.top1
    assert [names[0] for names in frame["top5"]] == list(frame["predicted"])
    assert list(result.losses.frame()["loss"]) == predictions.losses.tolist()
    assert list(result.losses.top(3).frame()["name"]) == [loss.name for loss in result.losses.top(3)]
    confusion = predictions.confusion_frame()
    assert confusion.to_numpy().tolist() == predictions.confusion.tolist()
    assert list(confusion.index) == list(confusion.columns) == list(predictions.class_names or ())
    statistics = result.statistics(LAYER)
    assert list(statistics.frame()["variance"]) == statistics.variance.tolist()
    peaks = result.top(LAYER, 2).frame()
    assert list(peaks["value"]) == [peak.value for peak in result.top(LAYER, 2)]
    assert list(zip(*(peaks[side] for side in ("top", "bottom", "left", "right")), strict=True)) == [
        peak.box for peak in result.top(LAYER, 2)
    ]


def test_another_program_reads_the_tables(result: SurveyResult, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB reads the tables; pip install duckdb")
    paths = result.export(tmp_path / "tables")
    assert [path.name for path in paths] == ["samples.parquet", "channels.parquet", "peaks.parquet"]
    samples, channels, peaks = (f"'{path}'" for path in paths)
    share = duckdb.sql(f"select avg((label = predicted)::int) from {samples}").fetchall()[0][0]
    assert share == pytest.approx(result.predictions.top1)
    ((most,),) = duckdb.sql(f"select max(most) from {channels}").fetchall()
    assert most == float(result.statistics(LAYER).most.max())
    rows = duckdb.sql(f"select name from {peaks} where kind = 'top' and channel = 4 order by rank").fetchall()
    assert [name for (name,) in rows] == [peak.name for peak in result.top(LAYER, 4)]
    assert len(duckdb.sql(f"select * from {peaks} where kind = 'random'").fetchall()) == 3 * 32


def test_samples_without_a_label_have_none_in_a_table(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="PyArrow writes the tables")
    data = [(image, label if i else -1) for i, (image, label) in enumerate(whole.Samples(4)[j] for j in range(4))]
    (path,) = Survey(whole.flat(), data, [Predictions()], progress=False).run().export(tmp_path)
    table = pq.read_table(path)
    assert table["label"].null_count == table["loss"].null_count == 1
    assert table.schema.field("top5").type.value_type == "string"


@pytest.mark.parametrize(("library", "ask"), [("pandas", "frame"), ("pyarrow", "export")])
def test_a_missing_library_is_named_with_its_extra(
    result: SurveyResult, library: str, ask: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(NetLensError, match=r"netlens\[survey\]"):
        result.predictions.frame() if ask == "frame" else result.export(tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


def test_a_layer_is_found_by_a_path_to_one_of_those_that_were_asked(result: SurveyResult) -> None:
    key = open_network().key(LAYER)
    survey_result = Survey(open_network(), [(np.zeros((8, 8, 3), np.uint8), 0)], [TopK(key, 1)], progress=False).run()
    assert survey_result.top(LAYER, 0) == survey_result.top(key, 0)
    assert result.layers_of(TopK) == result.layers_of(RandomSample) == result.layers_of(ChannelStatistics) == (LAYER,)


def test_the_usual_layers_are_the_ends_of_blocks_with_maps() -> None:
    assert usual_layers(open_network()) == ("stem", *(f"trunk_output.block{i}" for i in (1, 2, 3)))
    assert usual_layers(architecture("resnet18")) == tuple(f"layer{i}.1" for i in (1, 2, 3, 4))
    assert usual_layers(architecture("resnet18"), 2) == ("layer2.1", "layer4.1")
    flat = FlatModel.from_nn_Module(build("mobilenet_v2"))
    assert usual_layers(flat)[-1] == "features.18"
