"""Results: what a person asks them, files without pickle, and the errors of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from netlens import open_network
from netlens.errors import LayerNotFound, NetLensError
from netlens.flat import FlatModel, Hooks
from netlens.flat.receptive import receptive_fields
from netlens.heatmaps import ResultError
from netlens.survey import (
    Batch,
    ChannelStatistics,
    Predictions,
    Question,
    RandomSample,
    State,
    Survey,
    SurveyResult,
    TopK,
)
from netlens.world.scene import scene
from tests.survey import whole


@dataclass(frozen=True)
class Total(Question):
    """A question of one's own."""

    layer: str
    scale: float = 1.0

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def update(self, state: State, batch: Batch) -> State:
        return self.merge(state, {"sum": batch.record[self.layer].double().sum()[None]})

    def merge(self, a: State, b: State) -> State:
        return {"sum": a["sum"] + b["sum"]} if a and b else a or b

    def finish(self, state: State) -> float:
        return self.scale * float(state["sum"]) if state else 0.0


@dataclass(frozen=True)
class Again(Question):
    """A question that runs the network on the input, and compares."""

    runs = True

    def update(self, state: State, batch: Batch) -> State:
        assert batch.flat is not None
        same = batch.flat(batch.x) == batch.record["output"]
        right = bool(same.all()) and batch.names == tuple(f"#{i}" for i in batch.samples.tolist())
        return self.merge(state, {"right": torch.tensor([right]), "layers": torch.tensor([len(batch.flat.layers)])})

    def merge(self, a: State, b: State) -> State:
        return {"right": a["right"] * b["right"], "layers": b["layers"]} if a and b else a or b

    def finish(self, state: State) -> tuple[int, int]:
        return int(state["right"]), int(state["layers"])


QUESTIONS = (TopK("4", 3), RandomSample("4", 2), ChannelStatistics("1"), Predictions(), Total("6", 2.0))


@pytest.fixture(scope="module")
def result() -> SurveyResult:
    return Survey(whole.flat(), whole.Samples(30), QUESTIONS, progress=False).run()


def test_a_saved_survey_gives_the_same_answers(result: SurveyResult, tmp_path: Path) -> None:
    path = result.save(tmp_path / "survey.safetensors")
    loaded = SurveyResult.load(path, [Total])
    assert loaded.save(tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert loaded.questions == result.questions
    assert loaded.names == result.names
    for channel in range(7):
        assert loaded.top("4", channel) == result.top("4", channel)
        assert loaded.random("4", channel) == result.random("4", channel)
    assert torch.equal(loaded.statistics("1").variance, result.statistics("1").variance)
    assert torch.equal(loaded.confusion, result.confusion)
    assert loaded.losses.top(3) == result.losses.top(3)
    assert loaded.answer(Total("6", 2.0)) == result.answer(Total("6", 2.0))


def test_a_question_of_ones_own(result: SurveyResult) -> None:
    with torch.no_grad():
        expected = 2 * whole.network()(whole.Samples(30).images).double().sum().item()
    assert result.answer(Total("6", 2.0)) == expected != 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_question_runs_the_network_as_it_is(workers: int) -> None:
    survey_result = Survey(whole.flat(), whole.Samples(30), [Again()], shard=15, workers=workers, progress=False).run()
    assert survey_result.answer(Again()) == (True, 7)


def test_a_question_that_does_not_run_the_network_gets_none_of_it() -> None:
    @dataclass(frozen=True)
    class Without(Total):
        def update(self, state: State, batch: Batch) -> State:
            assert batch.flat is None
            return super().update(state, batch)

    Survey(whole.flat(), whole.Samples(3), [Without("6")], progress=False).run()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda r: r.top("1", 0), "no TopK of layer '1'"),
        (lambda r: r.statistics("4"), "Closest|layers '1'"),
        (lambda r: r.top("4", 7), "the channels are 0 to 6"),
        (lambda r: r.top("4", -1), "a channel"),
        (lambda r: r.answer(TopK("4", 4)), "did not ask"),
        (lambda r: r.save("survey.npz"), "must end in .safetensors"),
    ],
)
def test_what_was_not_asked_is_refused(result: SurveyResult, ask: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(NetLensError, match=words):
        ask(result)


def test_without_predictions_there_is_no_confusion() -> None:
    plain = Survey(whole.flat(), whole.Samples(3), [TopK("4", 3)], progress=False).run()
    with pytest.raises(NetLensError, match="add Predictions"):
        _ = plain.confusion


def test_files_that_are_no_surveys_are_refused(result: SurveyResult, tmp_path: Path) -> None:
    path = result.save(tmp_path / "survey.safetensors")
    with pytest.raises(ResultError, match="question of the class Total"):
        SurveyResult.load(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ResultError, match="damaged"):
        SurveyResult.load(path, [Total])


def test_a_question_whose_options_are_no_plain_values_is_not_saved(tmp_path: Path) -> None:
    question = Total("6", scale=torch.tensor(2.0))  # type: ignore[arg-type]
    survey_result = Survey(whole.flat(), whole.Samples(3), [question], progress=False).run()
    with pytest.raises(ResultError, match="plain values"):
        survey_result.save(tmp_path / "survey.safetensors")


def test_surveys_that_make_no_sense_are_refused() -> None:
    flat, samples = whole.flat(), whole.Samples(3)
    with pytest.raises(NetLensError, match="FlatModel"):
        Survey(nn.ReLU(), samples, QUESTIONS)  # type: ignore[arg-type]
    with pytest.raises(NetLensError, match="list of questions"):
        Survey(flat, samples, [])
    with pytest.raises(NetLensError, match="shard"):
        Survey(flat, samples, QUESTIONS, shard=0)
    with pytest.raises(NetLensError, match="below high"):
        ChannelStatistics("4", low=1, high=1)
    with pytest.raises(LayerNotFound):
        Survey(flat, samples, [TopK("nothing")]).run()
    with Hooks(flat, ["4"]), pytest.raises(NetLensError, match="hooks"):
        Survey(flat, samples, [TopK("4")]).run()


def test_the_place_that_fired_lies_in_its_box() -> None:
    """What is outside of the box does not change the value; what is inside does."""
    flat = open_network()
    layer = "trunk_output.block1.block1-0"
    size = receptive_fields(flat.program)[flat.key(layer)]
    assert size is not None and size.size is not None and size.size[0] < 60
    pictures = [scene(i).image for i in range(3)]
    result = Survey(flat, [(picture, 0) for picture in pictures], [TopK(layer, 3)], progress=False).run()
    assert result.top(layer, 4) == result.top(flat.key(layer), 4)
    preprocessing = flat.adapter.preprocessing
    for peak in result.top(layer, 4):
        top, bottom, left, right = peak.box
        row, column = peak.place
        original = preprocessing(pictures[peak.sample])
        outside = torch.zeros_like(original)
        outside[..., top:bottom, left:right] = original[..., top:bottom, left:right]
        inside = original.clone()
        inside[..., top:bottom, left:right] = 0
        values = [flat(x, until=layer)[0, 4, row, column].item() for x in (original, outside, inside)]
        assert values[1] == pytest.approx(values[0], abs=1e-5)
        assert abs(values[2] - values[0]) > 1e-3


def test_only_what_is_asked_runs() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[0] > 0 and float(x.sum()) != 12345:
                raise RuntimeError("this layer should not run")
            return x

    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), Broken()).eval()
    flat = FlatModel.from_nn_Module(network, check=False)
    survey_result = Survey(flat, whole.Samples(3), [TopK("1", 2)], progress=False).run()
    assert np.isfinite([peak.value for peak in survey_result.top("1", 0)]).all()
