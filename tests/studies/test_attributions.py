"""The attributions of a data set equal those of plain loops, whoever makes the parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from netlens import NetLens, open_network
from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import share_inside
from netlens.flat import FlatModel
from netlens.heatmaps import ResultError
from netlens.objectives import logit
from netlens.studies import Attributions, AttributionSummary
from netlens.survey import State, Survey, SurveyResult
from netlens.world.folder import write_world
from tests.survey import whole

QUESTION = Attributions("4")


def summary_of(samples: object, shard: int = 64, workers: int = 0, question: Attributions = QUESTION) -> SurveyResult:
    return Survey(whole.flat(), samples, [question], shard=shard, workers=workers, progress=False).run()


@pytest.fixture(scope="module")
def survey_result() -> SurveyResult:
    return summary_of(whole.Samples(70), shard=35)


def in_a_loop(flat: FlatModel, samples: whole.Samples, method: str, of_label: bool) -> dict[int, list[Tensor]]:
    """The normalized maps of each sample, one at a time, by class."""
    by_class: dict[int, list[Tensor]] = {}
    for image, label in zip(samples.images, samples.labels.tolist(), strict=True):
        scores = flat(image[None])[0]
        target = label if of_label else min(c for c in range(whole.CLASSES) if scores[c] == scores.max())
        values = NetLens(flat, image).attribute(method, objective=logit(target), wrt="4").spatial[0].double()
        total = values.abs().sum()
        by_class.setdefault(target, []).append(values / total if total > 0 else values)
    return by_class


@pytest.mark.parametrize("of_label", [False, True])
@pytest.mark.parametrize("method", ["input_x_gradient", "saliency"])
def test_sums_are_those_of_loops(of_label: bool, method: str) -> None:
    samples = whole.Samples(40)
    answer = summary_of(samples, 35, question=Attributions("4", method)).answers[0]
    side = answer.true if of_label else answer.predicted
    expected = in_a_loop(whole.flat(), samples, method, of_label)
    assert side.classes.tolist() == sorted(expected)
    for row, label in enumerate(side.classes.tolist()):
        maps = torch.stack(expected[label])
        assert side.count[row] == len(maps)
        torch.testing.assert_close(side.channels[row], maps.mean(0).sum((1, 2)), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(side.places[row], maps.mean(0).sum(0), rtol=1e-12, atol=1e-15)
    everything = torch.cat([torch.stack(maps) for maps in expected.values()]).mean(0)
    channels, places = side.over_all()
    torch.testing.assert_close(channels, everything.sum((1, 2)), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(places, everything.sum(0), rtol=1e-12, atol=1e-15)
    assert side.top(1)[0].channel == int(everything.sum((1, 2)).argmax())


def test_another_process_gives_the_same_bits(survey_result: SurveyResult) -> None:
    again = summary_of(whole.Samples(70), shard=35, workers=1)
    for name, values in survey_result.states[0].items():
        assert torch.equal(values, again.states[0][name])


def test_merging_is_pure_and_does_not_depend_on_the_cut() -> None:
    whole_numbers: list[State] = []
    for start, classes in ((0, [1, 3]), (10, [0, 3]), (20, [3, 5])):
        values = torch.arange(start, start + 4, dtype=torch.float64)
        state = {"classes": torch.tensor(classes), "count": torch.tensor([2, 1])}
        state |= {"channel_sums": values.view(2, 2), "place_sums": values.view(2, 1, 2)}
        state |= {"share_sums": values[:2], "masked": torch.tensor([1, 0])}
        whole_numbers.append({f"true.{name}": one for name, one in state.items()})
    a, b, c = whole_numbers
    before = {name: one.clone() for name, one in a.items()}
    left = QUESTION.merge(QUESTION.merge(a, b), c)
    right = QUESTION.merge(a, QUESTION.merge(b, c))
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    assert left["true.classes"].tolist() == [0, 1, 3, 5] and left["true.count"].tolist() == [2, 2, 4, 1]
    assert left["true.channel_sums"].tolist() == [[10, 11], [0, 1], [2 + 12 + 20, 3 + 13 + 21], [22, 23]]
    assert all(torch.equal(a[name], before[name]) for name in a)


def test_samples_without_a_label_are_explained_for_the_predicted_class_alone() -> None:
    samples = whole.Samples(12)
    answer = summary_of([(image, -1) for image in samples.images]).answers[0]
    assert answer.predicted.count.sum() == 12 and len(answer.true.classes) == 0
    with pytest.raises(NetLensError, match="no sample is of class"):
        answer.true.row(0)


def test_results_are_saved_and_drawn(survey_result: SurveyResult, tmp_path: Path) -> None:
    answer = survey_result.answers[0]
    again = AttributionSummary.load(answer.save(tmp_path / "summary.safetensors"))
    assert torch.equal(again.true.channel_sums, answer.true.channel_sums) and again.layer == "4"
    assert again.save(tmp_path / "b.safetensors").read_bytes() == (tmp_path / "summary.safetensors").read_bytes()
    with Image.open(answer.save(tmp_path / "summary.png")) as picture:
        assert np.asarray(picture).std() > 10
    survey = SurveyResult.load(survey_result.save(tmp_path / "survey.safetensors"), [Attributions])
    assert torch.equal(survey.answer(QUESTION).predicted.places, answer.predicted.places)
    with pytest.raises(ResultError, match=r"must end in \.png"):
        answer.save(tmp_path / "summary.npz")
    survey_result.save(tmp_path / "survey.safetensors")
    with pytest.raises(ResultError, match="not saved by netlens"):
        AttributionSummary.load(tmp_path / "survey.safetensors")


def test_the_share_on_masks(tmp_path: Path) -> None:
    write_world(tmp_path, 6, progress=False)
    masks = sorted((tmp_path / "masks").rglob("*.png"))
    masks[1].unlink()
    masks[2].rename(masks[2].with_suffix(".webp"))  # any suffix that says what it is
    flat, layer = open_network(), "trunk_output.block2"
    question = Attributions(layer, masks=tmp_path / "masks")
    result = Survey(flat, tmp_path / "images", [question], progress=False).run()
    answer = result.answer(question)
    shares: list[float] = []
    for i, name in enumerate(result.names):
        label = flat.classes.index(name.split("/")[0].replace("_", " "))  # type: ignore[union-attr]
        if i != 1:
            path = masks[i].with_suffix(".webp") if i == 2 else masks[i]
            mask = torch.from_numpy(np.array(Image.open(path).convert("L")) > 127)[None]
            lens = NetLens(flat, tmp_path / "images" / name)
            explained = lens.attribute("input_x_gradient", objective=logit(label), wrt=layer)
            shares.append(float(share_inside(explained, mask)))
            assert float(answer.true.shares[answer.true.row(label)]) == pytest.approx(shares[-1], abs=1e-4)
        else:
            assert answer.true.shares[answer.true.row(label)].isnan()
    assert answer.true.share == pytest.approx(np.mean(shares), abs=1e-4)
    assert answer.true.masked.sum() == 5


def test_other_masks_make_other_parts(tmp_path: Path) -> None:
    write_world(tmp_path / "world", 3, progress=False)

    def parts() -> set[str]:
        question = Attributions("stem", masks=tmp_path / "world" / "masks")
        Survey(open_network(), tmp_path / "world/images", [question], tmp_path / "parts", progress=False).run()
        return {path.name for path in (tmp_path / "parts").iterdir()}

    first = parts()
    assert parts() == first
    next((tmp_path / "world" / "masks").rglob("*.png")).unlink()
    assert len(parts()) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": "4", "method": "oclusion"}, "Closest: 'occlusion'"),
        ({"layer": "4", "method": "eigen_cam"}, "explains no class"),
        ({"layer": "4", "masks": 3}, "masks is 3"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(NetLensError, match=words):
        Attributions(**options)


def test_masks_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NetLensError, match="no folder of masks"):
        summary_of(whole.Samples(3), question=Attributions("4", masks=tmp_path / "nothing"))


def test_pictures_of_several_sizes_are_refused() -> None:
    data = [(torch.zeros(3, side, side), 0) for side in (64, 96)]
    with pytest.raises(NotApplicable, match="different sizes"):
        Survey(open_network(), data, [Attributions("stem")], progress=False).run()


def test_a_layer_of_features_has_one_place() -> None:
    answer = summary_of(whole.Samples(8), question=Attributions("6")).answers[0]
    assert answer.predicted.places.shape[1:] == (1, 1) and answer.predicted.channels.shape[1] == whole.CLASSES


def test_tokens_are_laid_out() -> None:
    from netlens.world.scene import scene

    vit = open_network("shapes_vit")
    layer = [key for key in vit.layers if key.endswith("ln_1")][-1]
    question = Attributions(layer)
    answer = Survey(vit, [(scene(1).image, 0)], [question], progress=False).run().answer(question)
    side = answer.true.places.shape[1]
    assert answer.true.places.shape == (1, side, side) and side > 1
