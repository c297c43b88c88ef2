"""A recommendation, where the best method is known."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from netlens.attribution import InputXGradient, Occlusion
from netlens.attribution.method import method_from
from netlens.errors import NetLensError
from netlens.evaluation import Case, Recommendation, evaluate, recommend
from netlens.evaluation.metrics import Deletion, MaxSensitivity
from netlens.evaluation.recommendation._contestants import CHEAP, SLOW, contestants, text_of, variants
from netlens.heatmaps import ResultError
from netlens.objectives import logit
from netlens.world.scene import batch
from netlens.zoo import open_network
from tests.evaluation import linear

EXACT = Deletion(steps=16, baselines=0.0)
"""On a linear network, no order of 16 pixels has a smaller area than that of the products of weights and pixels."""


@pytest.fixture(scope="module")
def case() -> Case:
    return linear.case(n=24)


@pytest.fixture(scope="module")
def answer(case) -> Recommendation:
    return recommend(case, ["saliency", "input_x_gradient", Occlusion(4, 4)], [EXACT, "gini"], tuned=0)


@pytest.fixture(scope="module")
def scenes() -> Case:
    flat = open_network()
    pictures, labels, masks = batch(7, 8)
    return Case(flat, flat.adapter.preprocessing.normalize(pictures / 255), logit(labels.tolist()), masks=masks)


def test_on_a_linear_network_the_exact_method_wins(answer):
    assert (answer.method, answer.options, answer.text) == ("input_x_gradient", {}, "input_x_gradient")
    assert answer.explainer == InputXGradient()
    assert answer.ties == ()
    assert answer.beaten == ""
    assert answer.doubtful == ()
    assert answer.wins["input_x_gradient"] == 1
    assert answer.estimate.n == 24
    assert {name for one in answer.rounds for name in one.left} >= {"saliency", "occlusion:window=4,stride=4"}


def test_methods_that_are_equal_are_not_told_apart(case):
    answer = recommend(case, ["input_x_gradient", "integrated_gradients", "saliency"], [EXACT], tuned=0)
    assert {answer.text, *answer.ties} == {"input_x_gradient", "integrated_gradients"}
    assert "not told apart from it: " in str(answer)


def test_options_that_make_a_method_exact_are_found(case):
    """One window over the whole picture says nothing; windows of single pixels give what pixels contribute."""
    coarse = Occlusion(window=4, stride=4)
    assert text_of(Occlusion(2, 1)) in {one.name for one in variants(contestants([coarse])[1][0], case.flat, 4)}
    answer = recommend(case, [coarse, "saliency"], [EXACT], tuned=2)
    assert answer.text == "occlusion:window=2,stride=1"
    assert answer.options == {"window": 2, "stride": 1}


def test_a_control_that_wins_is_said_in_a_clear_line(case):
    answer = recommend(case, ["input_x_gradient"], [MaxSensitivity(radius=0.05, samples=2)], tuned=0)
    assert answer.method == "input_x_gradient"  # the best that there is
    assert answer.beaten in answer.table.controls
    (line,) = [line for line in str(answer).split("\n") if line.startswith("WARNING")]
    assert line.startswith(f"WARNING: the control {answer.beaten} is better")


def test_metrics_that_disagree_stand_side_by_side(answer, case):
    table = evaluate(case, {name: method_from(name) for name in answer.table.methods[:2]}, [EXACT, "gini"], False)
    for name in table.methods:
        for metric in ("deletion", "gini"):
            assert answer.table.of(name, metric).mean == pytest.approx(table.of(name, metric).mean)
    assert answer.table.metrics == ("deletion", "gini")
    assert answer.table.methods[0] == answer.text
    for metric, best in answer.disagreeing.items():
        assert answer.table.differ(best, answer.text, metric)
        assert f"{metric} disagrees: {best}" in str(answer)


def test_an_answer_follows_from_its_seed(case, answer):
    again = recommend(case, ["saliency", "input_x_gradient", Occlusion(4, 4)], [EXACT, "gini"], tuned=0)
    assert str(again) == str(answer)
    assert again.rounds == answer.rounds
    assert torch.equal(again.race.scores.nan_to_num(-1), answer.race.scores.nan_to_num(-1))


@pytest.mark.parametrize("seed", range(3))
def test_on_the_bundled_network_the_winner_is_that_of_the_full_table(scenes, seed):
    names = ["saliency", "input_x_gradient", "grad_cam", "layer_cam", "lrp", "guided_grad_cam"]
    table = evaluate(scenes, {name: method_from(name) for name in names}, ["energy_inside"])
    answer = recommend(scenes, names, ["energy_inside"], tuned=0, pictures=0, seed=seed)
    assert answer.text == table.ranking("energy_inside")[0]
    assert answer.estimate.mean == pytest.approx(table.of(answer.text, "energy_inside").mean)


def test_a_method_without_meaning_does_not_race(scenes):
    answer = recommend(scenes, ["attention_rollout", "grad_cam"], ["gini"], tuned=0, pictures=0)
    assert "attention" in answer.race.why["attention_rollout",]
    assert "attention_rollout" not in answer.race.methods
    with pytest.raises(NetLensError, match="no method can be judged by gini"):
        recommend(scenes, ["attention_rollout"], ["gini"])


def test_a_class_is_not_promised_where_the_method_reads_none(scenes):
    answer = recommend(scenes, ["eigen_cam"], ["gini"], tuned=0, pictures=0)
    assert "eigen_cam shows the same whatever the class is" in str(answer)


def test_an_interrupted_race_goes_on_and_gives_the_same(case, answer, tmp_path):
    steps = 0

    def stop(step):
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt

    arguments = (["saliency", "input_x_gradient", Occlusion(4, 4)], [EXACT, "gini"])
    with pytest.raises(KeyboardInterrupt):
        recommend(case, *arguments, tuned=0, progress=stop, parts=tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert files
    assert str(recommend(case, *arguments, tuned=0, parts=tmp_path)) == str(answer)
    assert all(path.read_bytes() == content for path, content in files.items() if "saliency" in path.name)


def test_the_usual_metric_follows_from_the_masks(scenes):
    few = scenes.take([0, 1])
    assert recommend(few, ["grad_cam"], tuned=0, pictures=0).metric == "energy_inside"
    answer = recommend(replace(few, masks=None), ["grad_cam"], tuned=0, pictures=0)
    assert answer.metric == "deletion"
    assert "2 images cannot tell much apart" in str(answer)


def test_files(scenes, tmp_path):
    answer = recommend(scenes, ["saliency", "lrp:composite=epsilon_plus_flat"], ["gini", "energy_inside"], tuned=0)
    back = Recommendation.load(answer.save(tmp_path / "answer.json"))
    assert str(back) == str(answer)
    assert (back.text, back.options, back.explainer) == (answer.text, answer.options, answer.explainer)
    assert back.rounds == answer.rounds
    data = json.loads((tmp_path / "answer.json").read_text())
    assert data["provenance"]["versions"]["netlens"]
    assert data["provenance"]["images"] == 8
    with Image.open(answer.save(tmp_path / "answer.png")) as picture:
        assert json.loads(picture.text["netlens"])["provenance"] == data["provenance"]
        assert back.show().shape[0] < picture.size[1]  # a file holds no maps
    with pytest.raises(ResultError, match=r"must end in \.json or \.png"):
        answer.save(tmp_path / "answer.csv")
    (tmp_path / "wrong.json").write_text("{}")
    with pytest.raises(ResultError):
        Recommendation.load(tmp_path / "wrong.json")


def test_wrong_words_are_one_line(case):
    with pytest.raises(NetLensError, match="no metric 'giny'"):
        recommend(case, ["saliency"], ["giny"])
    with pytest.raises(NetLensError, match="saliency is given twice"):
        recommend(case, ["saliency", "saliency"])
    with pytest.raises(NetLensError, match="tuned is -1"):
        recommend(case, tuned=-1)
    rows = Deletion(baselines=case.x.flip(0))
    with pytest.raises(NetLensError, match="a row for each image"):
        recommend(case, ["saliency"], [rows])


def test_each_contestant_has_a_text_that_gives_it_back():
    flat = open_network()
    usual = [one for group in contestants(None) for one in group]
    assert [one.name for one in usual] == [*CHEAP, *SLOW]
    every = [*usual, *(other for one in usual for other in variants(one, flat, 128))]
    names = [one.name for one in every]
    assert len(set(names)) == len(names) > 60
    assert [text_of(method_from(name)) for name in names] == names
    assert "lrp:composite=epsilon_gamma_box:gamma=0.1" in names
    assert "smooth_gradient:noise_level=0.3" in names
    assert any(name.startswith("grad_cam:layer=") for name in names)
