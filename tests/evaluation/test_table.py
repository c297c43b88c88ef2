"""The table of an evaluation: intervals, rankings, agreement, controls, files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from netlens.attribution import GradCAM, Method, Saliency
from netlens.errors import NetLensError
from netlens.evaluation import CONTROLS, METRICS, Case, Evaluation, Explanation, ImageParts, evaluate, register_metric
from netlens.evaluation._table import kendall
from netlens.evaluation.metrics import Metric, PointingGame
from netlens.heatmaps import ResultError
from netlens.objectives import logit, probability
from netlens.options import options_of
from netlens.world.scene import batch
from netlens.zoo import open_network


@pytest.fixture(scope="module")
def case() -> Case:
    flat = open_network()
    pictures, labels, masks = batch(7, 6)
    x = flat.adapter.preprocessing.normalize(pictures / 255)
    return Case(flat, x, logit(labels.tolist()), probability(labels.tolist()), masks)


@pytest.fixture(scope="module")
def table(case) -> Evaluation:
    return evaluate(case, ["grad_cam", Saliency], ["energy_inside", PointingGame(), "gini", "max_sensitivity"])


def evaluation(scores: torch.Tensor, metrics=("energy_inside",)) -> Evaluation:
    names = tuple("abcdef"[: len(scores)])
    return Evaluation(names, (), metrics, scores.double(), torch.zeros(len(names)))


def test_scores_are_those_of_the_metrics(case, table):
    explanation = Explanation.of(case, GradCAM())
    assert_close(table.scores[0, 1], PointingGame()(explanation))
    assert table.methods == ("GradCAM", "Saliency", "RandomMap", "EdgeDetector", "CenterMap", "ConstantMap")
    assert table.controls == tuple(control.__name__ for control in CONTROLS)
    assert len(table) == 6
    assert (table.seconds > 0).all()


def test_a_constant_has_no_meaning_for_some_metrics_and_its_score_is_missing(table):
    assert table.of("ConstantMap", "gini").mean == pytest.approx(0, abs=1e-9)
    assert table.of("GradCAM", "energy_inside").mean > table.of("RandomMap", "energy_inside").mean
    assert table.ranking("energy_inside")[0] == "GradCAM"
    assert table.beaten("energy_inside") == ""
    assert table.beaten("max_sensitivity") in table.controls  # what never changes is robust


def test_an_interval_is_that_of_the_bootstrap_and_holds_the_mean():
    values = torch.linspace(0, 1, 40)
    one = evaluation(values[None, None]).of("a", "energy_inside")
    generator = np.random.default_rng(0)
    means = generator.choice(values.numpy(), (4000, 40)).mean(1)
    assert (one.low, one.high) == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=0.01)
    assert one.low < one.mean < one.high
    assert one.n == 40


def test_nan_is_left_out():
    scores = torch.tensor([[[1.0, torch.nan, 3.0]], [[torch.nan] * 3]])
    table = evaluation(scores)
    assert (table.of("a", "energy_inside").mean, table.of("a", "energy_inside").n) == (2, 2)
    assert table.of("b", "energy_inside").n == 0
    assert table.ranking("energy_inside") == ("a",)


def test_methods_are_told_apart_on_the_same_images():
    base = torch.rand(30, generator=torch.Generator().manual_seed(0))
    scores = torch.stack([base, base + 0.01, base.flip(0)])[:, None]
    table = evaluation(scores)
    assert table.differ("a", "b", "energy_inside")  # a small difference on each image
    assert not table.differ("a", "c", "energy_inside")
    assert table.ranking("energy_inside")[0] == "b"


@pytest.mark.parametrize(("images", "apart"), [(5, False), (6, True)])
def test_few_images_tell_nobody_apart(images, apart):
    """Of 5 images, all speak for one method once in 16 times if the methods are equal; of 6, once in 32 times."""
    base = torch.rand(images, generator=torch.Generator().manual_seed(0))
    table = evaluation(torch.stack([base, base + 0.5])[:, None])
    assert table.differ("a", "b", "energy_inside") is apart


def test_the_agreement_of_halves_is_1_for_a_clear_order_and_near_0_for_noise():
    clear = torch.arange(6)[:, None, None] + 0.1 * torch.rand(6, 1, 20, generator=torch.Generator().manual_seed(0))
    assert evaluation(clear).agreement("energy_inside") == pytest.approx(1)
    noise = torch.rand(6, 1, 20, generator=torch.Generator().manual_seed(0))
    assert abs(evaluation(noise).agreement("energy_inside")) < 0.5
    assert np.isnan(evaluation(clear[..., :3]).agreement("energy_inside"))


def test_a_table_says_by_each_metric_what_is_best_and_what_may_be_as_good():
    base = torch.rand(30, generator=torch.Generator().manual_seed(0))
    scores = torch.stack([base, base + 0.01, base.flip(0), base + 1])[:, None]
    table = Evaluation(tuple("abcd"), ("d",), ("energy_inside",), scores.double(), torch.zeros(4))
    best, tied = (
        table.of("b", "energy_inside"),
        "" if table.differ("b", "c", "energy_inside") else "; not told apart: c",
    )
    assert str(table) == f"energy_inside (more is better): b {best}{tied}; but the control d is better"
    assert tied


def test_kendall_is_that_of_scipy():
    from scipy.stats import kendalltau

    a, b = torch.randint(0, 5, (2, 9), generator=torch.Generator().manual_seed(0)).double()
    assert kendall(a, b) == pytest.approx(kendalltau(a.numpy(), b.numpy()).statistic)


def test_files(table, tmp_path):
    back = Evaluation.load(table.save(tmp_path / "table.json"))
    assert (back.methods, back.metrics, back.controls) == (table.methods, table.metrics, table.controls)
    assert_close(back.scores, table.scores, equal_nan=True)
    assert back.provenance == json.loads(json.dumps(dict(table.provenance)))
    lines = table.save(tmp_path / "table.csv").read_text().splitlines()
    assert lines[0] == "method,control,metric,mean,low,high,images,reason"
    assert len(lines) == 1 + 6 * 4
    with pytest.raises(ResultError, match=r"must end in \.csv or \.json"):
        table.save(tmp_path / "table.txt")
    (tmp_path / "wrong.json").write_text("{}")
    with pytest.raises(ResultError):
        Evaluation.load(tmp_path / "wrong.json")
    with pytest.raises(ResultError, match="cannot be read"):
        Evaluation.load(tmp_path / "missing.json")


def test_arrays_of_other_libraries_are_judged(case):
    arrays = {"mine": case.masks.double().numpy(), "theirs": torch.rand(6, 3, 16, 16)}
    table = evaluate(case, arrays, ["pointing_game", "max_sensitivity"], controls=False)
    assert table.of("mine", "pointing_game").mean == 1
    assert table.of("mine", "max_sensitivity").n == 0
    assert "is an array" in table.why["mine", "max_sensitivity"]


def test_a_method_without_meaning_is_a_row_with_its_reason(case):
    table = evaluate(case, ["attention_rollout", "grad_cam"], ["gini"], controls=False)
    assert table.of("AttentionRollout", "gini").n == 0
    assert "attention" in table.why["AttentionRollout",]
    assert table.ranking("gini") == ("GradCAM",)


def test_wrong_names_and_doubles_are_one_line(case):
    with pytest.raises(NetLensError, match=r"no metric 'giny'\. Closest: .*gini"):
        evaluate(case, ["grad_cam"], ["giny"])
    with pytest.raises(NetLensError, match="given twice"):
        evaluate(case, ["grad_cam"], ["gini", "gini"])
    with pytest.raises(NetLensError, match="two methods are called GradCAM"):
        evaluate(case, ["grad_cam", GradCAM(relu=False)], ["gini"])
    with pytest.raises(NetLensError, match="one map for each"):
        evaluate(case, {"few": torch.rand(2, 8, 8)}, ["gini"])
    with pytest.raises(NetLensError, match="a metric is a Metric"):
        evaluate(case, ["grad_cam"], [Method])  # type: ignore[list-item]


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_says_what_it_is(name):
    metric = METRICS[name]
    assert metric.family in ("faithfulness", "robustness", "sanity", "localization", "complexity", "axioms")
    assert isinstance(metric.more_is_better, bool)
    low, high = metric.bounds
    assert low < high
    assert metric.assumes.endswith(".")
    assert "better" in (metric.__doc__ or "") + (metric.__mro__[1].__doc__ or "")
    assert "http" in (metric.__doc__ or "")
    assert all(option.help for option in options_of(metric))


@pytest.mark.parametrize("name", METRICS)
def test_numbers_stay_within_their_bounds(case, name):
    x, targets, masks = case.x[:2], list(case.explained.targets(case.flat, 6)[:2]), case.masks[:2]
    inside, outside = (torch.where(mask[:, None], 0.0, x) for mask in (masks, ~masks))
    halves = ImageParts(torch.stack([masks, ~masks], 1), torch.stack([inside, outside], 1))
    other = open_network("shapes_shuffled")
    small = Case(case.flat, x, logit(targets), None, masks, halves, neighbor=case.flat, shuffled=other)
    metric = METRICS[name]
    options: dict[str, Any] = {"steps": 2, "pixels": 4000, "sets": 4, "squares": 4, "samples": 1, "stages": 1}
    options |= {"segments": 4, "shares": (0.2, 0.5), "regions": 4, "side": 64}
    mine = {o.name: options[o.name] for o in options_of(metric) if o.name in options}
    scores = metric(**{**mine, **({"pixels": 4} if name == "continuity" else {})})(Explanation.of(small, GradCAM()))
    low, high = metric.bounds
    scores = scores[~scores.isnan()]
    assert ((scores >= low - 1e-9) & (scores <= high + 1e-9)).all()


def test_a_metric_of_ones_own_is_registered_in_one_line(case):
    class Largest(Metric):
        family, more_is_better, bounds, assumes = "complexity", True, (0, 1), "Nothing."

        def judge(self, explanation):
            return explanation.maps.flatten(1).amax(1)

    register_metric(Largest)
    try:
        assert evaluate(case, ["grad_cam"], ["largest"], controls=False).of("GradCAM", "largest").n == 6
    finally:
        del METRICS["largest"]
