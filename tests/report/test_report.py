"""The pages of a report: they say the numbers of the survey, escape texts, and appear whole or not at all."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from netlens import open_network
from netlens.attribution import GradCAM
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.heatmaps import ResultError
from netlens.objectives import logit
from netlens.report import Report
from netlens.report import _choice as choice
from netlens.report._album import Album
from netlens.report._explained import Explained
from netlens.survey import ChannelStatistics, Predictions, Survey, SurveyResult, TopK
from tests.markup import Page
from tests.report.conftest import HOSTILE, LAYERS, SMALL
from tests.survey import whole


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_says_the_numbers_of_the_survey(pages: Path, survey: SurveyResult) -> None:
    text = Page(pages / "index.html").text
    predictions = survey.predictions
    right = int((predictions.top[:, 0] == predictions.labels).sum())
    assert f"{100 * right / 30:.1f}% {right} of 30 pictures with a label" in text
    assert "1 of 31 files could not be read" in text
    for pair in predictions.pairs(3):
        names = survey.classes[pair.label], survey.classes[pair.predicted]
        assert f"{names[0]} taken for {names[1]} · {pair.count} of {int(survey.confusion[pair.label].sum())}" in text
    for loss in survey.losses.top(4):
        assert f"loss {loss.value:.3g}" in text
    for layer in LAYERS:
        assert layer in text


def test_names_of_files_and_titles_are_text(pages: Path) -> None:
    for path in pages.glob("*.html"):
        page = Page(path)
        assert "script" not in {tag for tag, _ in page.elements}
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        assert "shapes on <world>" in page.text
    page = Page(pages / "index.html")
    assert f"{HOSTILE}.png" in page.text
    assert any(
        attributes.get("alt", "").endswith(f"{HOSTILE}.png") for tag, attributes in page.elements if tag == "img"
    )


def test_its_pictures_lie_beside_it_and_are_loaded_when_they_are_seen(pages: Path) -> None:
    shown = set()
    for path in pages.glob("*.html"):
        for tag, attributes in Page(path).elements:
            if tag == "img":
                shown.add(attributes["src"])
                assert attributes["loading"] == "lazy" and "alt" in attributes
                with Image.open(pages / attributes["src"]) as image:
                    assert image.size == (int(attributes["width"]), int(attributes["height"]))
    assert shown <= set(files_of(pages))
    assert all(re.fullmatch(r"pictures/[a-z0-9-]+\.jpg", src) for src in shown)


def test_made_again_it_is_the_same_bytes(survey: SurveyResult, tmp_path: Path) -> None:
    options = Report(losses=2, pairs=1, examples=1, explained_classes=1, averaged=2, channels=1, steps=2)
    for name in ("once", "again"):
        path = options.write(survey, open_network(), tmp_path / name, progress=False)
        assert path == tmp_path / name / "index.html"
    assert files_of(tmp_path / "once") == files_of(tmp_path / "again")


def test_an_interrupted_report_leaves_the_earlier_one(
    pages: Path, survey: SurveyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    options = replace(SMALL, steps=0, losses=1, explained_classes=0, pairs=0)
    options.write(survey, open_network(), folder, progress=False)
    before = files_of(folder)

    def interrupted(*arguments: Any, **keywords: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("netlens.report._report.write_pages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        options.write(survey, open_network(), folder, "another title", progress=False)
    assert files_of(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    monkeypatch.undo()
    options.write(survey, open_network(), folder, "another title", progress=False)
    assert files_of(folder) != before and [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_folder_of_something_else_is_refused(survey: SurveyResult, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("my own page")
    with pytest.raises(ResultError, match="something else"):
        SMALL.write(survey, open_network(), tmp_path, progress=False)
    assert (tmp_path / "index.html").read_text() == "my own page"


def test_another_network_is_refused(survey: SurveyResult, tmp_path: Path) -> None:
    network = open_network()
    torch.manual_seed(0)
    changed = FlatModel.from_nn_Module(
        nn.Sequential(nn.Conv2d(3, 15, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), adapter=network.adapter
    )
    with pytest.raises(NetLensError, match="run the survey again"):
        SMALL.write(survey, changed, tmp_path / "report", progress=False)
    assert not [*tmp_path.iterdir()]


def test_pictures_that_are_gone_are_told(survey: SurveyResult, data: Path, tmp_path: Path) -> None:
    loss = survey.losses.top(1)[0]
    hidden = (data / loss.name).rename(data / "gone.txt")
    try:
        path = replace(SMALL, steps=0).write(survey, open_network(), tmp_path / "report", progress=False)
    finally:
        hidden.rename(data / loss.name)
    page = Page(path)
    assert f"{loss.name} does not exist" in page.text


def test_a_survey_without_pictures_is_refused(survey: SurveyResult, tmp_path: Path) -> None:
    with pytest.raises(NetLensError, match="with_pictures"):
        SMALL.write(replace(survey, pictures=None), open_network(), tmp_path / "report", progress=False)


def test_heat_maps_are_those_of_the_method(survey: SurveyResult, tmp_path: Path) -> None:
    flat = open_network()
    explained = Explained(flat, survey.pictures, GradCAM(), None, Album(tmp_path))
    questions = [(3, 1), (9, 4), (3, 2)]
    explained.prepare(questions, questions, lambda n: None)
    for sample, target in ((3, 1), (3, 2), (9, 4)):
        expected = GradCAM()(flat, survey.pictures.input(sample), logit(target)).heatmap(64)
        assert explained.map(sample, target) is not None
        torch.testing.assert_close(explained._maps[sample, target][None], expected, atol=1e-4, rtol=0)
    assert explained.map(9, 1) is None


def test_the_choice_follows_from_the_survey(survey: SurveyResult) -> None:
    predictions = survey.predictions
    for chosen in choice.pairs_of(predictions, 3, 2):
        rows = [
            (float(predictions.confidence[i]), int(predictions.samples[i]))
            for i in range(len(predictions.samples))
            if predictions.labels[i] == chosen.pair.label and predictions.top[i, 0] == chosen.pair.predicted
        ]
        assert list(chosen.samples) == [sample for _, sample in sorted(rows, key=lambda row: -row[0])[:2]]
    accuracy = predictions.per_class
    classes = choice.classes_of(predictions, 15, 4, 2)
    assert [accuracy[one.index].item() for one in classes] == sorted(accuracy[one.index].item() for one in classes)
    for one in classes:
        assert set(one.shown) <= set(one.averaged)
        assert all(predictions.labels[predictions.samples == sample] == one.index for sample in one.averaged)
    variance = survey.statistics("stem").variance
    shown = choice.channels_of(survey, "stem", 24, 5)
    assert sorted(shown) == list(shown) and set(shown) == set(variance.topk(5).indices.tolist())
    for one in choice.losses_of(survey, predictions, 4):
        assert one.targets[0] == one.loss.label != one.targets[1]


def test_it_can_be_sent_to_others(pages: Path, data: Path) -> None:
    """No page says in which folder of which machine the pictures lie."""
    for path in pages.glob("*.html"):
        assert str(data.parent) not in path.read_text()


def test_many_channels_come_on_several_pages(survey: SurveyResult, tmp_path: Path) -> None:
    options = Report(losses=0, pairs=0, explained_classes=0, channels=100, steps=0, examples=1)
    root = options.write(survey, open_network(), tmp_path / "report", progress=False).parent
    shown = []
    for name in ("layer-2.html", "layer-2-2.html", "layer-2-3.html"):
        page = Page(root / name)
        shown += [attributes["id"] for tag, attributes in page.elements if tag == "article"]
        links = [attributes.get("href") for tag, attributes in page.elements if tag == "a"]
        assert {"layer-2.html", "layer-2-2.html", "layer-2-3.html"} - {name} <= set(links)
    assert shown == [f"channel-{index}" for index in range(64)]
    assert not (root / "layer-2-4.html").exists()


@pytest.mark.parametrize(
    "questions", [[Predictions()], [ChannelStatistics("1")], [TopK("4", 2)], [TopK("4", 2), Predictions()]]
)
@pytest.mark.parametrize("labeled", [True, False])
def test_a_survey_of_few_questions_has_a_report(questions: Any, labeled: bool, tmp_path: Path) -> None:
    samples = [(image, int(label) if labeled else -1) for image, label in (whole.Samples(6)[i] for i in range(6))]
    flat = whole.flat()
    survey = Survey(flat, samples, questions, progress=False).run()
    options = Report(losses=2, explained_classes=2, channels=2, steps=0)
    page = Page(options.write(survey, flat, tmp_path / "report", progress=False))
    assert ("Accuracy" in page.text) == (labeled and Predictions() in questions)
    assert ("Layers and channels" in page.text) == any(not isinstance(one, Predictions) for one in questions)


def test_a_method_that_does_not_apply_is_told(survey: SurveyResult, tmp_path: Path) -> None:
    options = replace(SMALL, method="attention_rollout", steps=0, channels=0)
    text = Page(options.write(survey, open_network(), tmp_path / "report", progress=False)).text
    assert "There are no heat maps: " in text
    with pytest.raises(NetLensError, match="Closest"):
        replace(SMALL, method="grad_kam").write(survey, open_network(), tmp_path / "other", progress=False)
