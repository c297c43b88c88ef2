"""An evaluation that was interrupted goes on where it stopped, and never takes a score for another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from netlens.attribution import InputXGradient, IntegratedGradients, Saliency
from netlens.errors import NetLensError
from netlens.evaluation import Case, ImageParts, Step, evaluate
from netlens.evaluation._judging import BLOCK
from netlens.evaluation.metrics import Deletion, Gini, Metric
from netlens.heatmaps import ResultError
from netlens.objectives import logit
from netlens.options import option
from tests.evaluation import linear

METHODS = {"gradient": Saliency(), "product": InputXGradient()}
ASKED: list[tuple[str, int]] = []
"""Which method `Counted` has judged, on how many images."""


@dataclass(frozen=True)
class Counted(Metric):
    """The largest relevance of a pixel."""

    factor: float = option(1.0, help="A factor.")
    family = "complexity"
    more_is_better = True
    bounds = (0, float("inf"))
    assumes = "Nothing."

    def judge(self, explanation):
        ASKED.append((explanation.name, len(explanation.case)))
        return self.factor * explanation.maps.flatten(1).amax(1)


@pytest.fixture(autouse=True)
def nothing_asked() -> Iterator[None]:
    ASKED.clear()
    yield


def judged(folder: Path | None, case: Case, methods: Any = METHODS, metrics: Any = (Counted(),), **options: Any):
    return evaluate(case, methods, metrics, controls=False, parts=folder, **options)


def test_what_is_judged_is_not_judged_again_and_has_the_same_bits(tmp_path):
    case = linear.case(n=3)
    metrics = [Counted(), Deletion(steps=3, baselines=0.0)]
    first = judged(tmp_path, case, metrics=metrics)
    assert ASKED == [("gradient", 3), ("product", 3)]
    again = judged(tmp_path, case, metrics=metrics)
    assert len(ASKED) == 2
    assert torch.equal(first.scores, again.scores)
    assert torch.equal(first.seconds, again.seconds)
    assert torch.equal(first.scores, judged(None, case, metrics=metrics).scores)


def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path):
    case = linear.case(n=BLOCK + 3)  # two blocks
    steps: list[Step] = []

    def stop(step: Step) -> None:
        steps.append(step)
        if len(steps) == 6:  # before the last block of the second method but one
            raise KeyboardInterrupt

    metrics = [Counted(), Gini()]
    with pytest.raises(KeyboardInterrupt):
        judged(tmp_path, case, metrics=metrics, progress=stop)
    assert ASKED == [("gradient", BLOCK), ("gradient", 3), ("product", BLOCK)]
    table = judged(tmp_path, case, metrics=metrics)
    assert ASKED[3:] == [("product", 3)]
    assert torch.equal(table.scores, judged(None, case, metrics=metrics).scores)


def test_a_new_metric_or_method_is_all_that_is_computed(tmp_path):
    case = linear.case(n=3)
    judged(tmp_path, case)
    judged(tmp_path, case, {**METHODS, "path": IntegratedGradients(n_steps=2)}, [Counted(), Counted(2.0)][:1])
    assert ASKED[2:] == [("path", 3)]
    judged(tmp_path, case, metrics=[Counted(2.0)])
    assert ASKED[3:] == [("gradient", 3), ("product", 3)]
    judged(tmp_path, case)
    judged(tmp_path, case, metrics=[Counted(2.0)])
    assert len(ASKED) == 5


def _other_weights(case: Case) -> Case:
    return replace(case, flat=linear.network(seed=5))


def _changed_in_place(case: Case) -> Case:
    with torch.no_grad():
        next(case.flat.parameters()).add_(1)
    return case


def _other_preprocessing(case: Case) -> Case:
    flat = linear.network()
    preprocessing = replace(flat.adapter.preprocessing, mean=(0.1, 0.1, 0.1))
    flat.adapter = replace(flat.adapter, preprocessing=preprocessing)
    return replace(case, flat=flat)


CHANGES = {
    "weights": _other_weights,
    "weights in place": _changed_in_place,
    "preprocessing": _other_preprocessing,
    "an image": lambda case: replace(case, x=torch.cat([case.x[:2], case.x[2:] + 1e-9])),
    "the order of the images": lambda case: replace(case, x=case.x.flip(0)),
    "the target": lambda case: replace(case, explained=logit(0)),
    "the target of one image": lambda case: replace(case, explained=logit([1, 1, 0])),
    "the judged number": lambda case: replace(case, judged=logit(0)),
    "a neighbor": lambda case: replace(case, neighbor=linear.network(seed=5)),
    "a network of shuffled labels": lambda case: replace(case, shuffled=linear.network(seed=5)),
    "the parts of the images": lambda case: replace(case, image_parts=ImageParts(case.x[:, :1] > 0, case.x[:, None])),
    "a mask": lambda case: replace(case, masks=torch.ones(3, 4, 4, dtype=torch.bool)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_score_of_something_else_is_never_taken(name, tmp_path):
    judged(tmp_path, linear.case(n=3))
    changed = CHANGES[name](linear.case(n=3))
    assert torch.equal(judged(tmp_path, changed).scores, judged(None, changed).scores)
    assert len(ASKED) == 6  # two for each table


def test_an_option_of_a_method_is_part_of_its_scores(tmp_path):
    case = linear.case(n=3)
    judged(tmp_path, case, {"path": IntegratedGradients(n_steps=2)})
    judged(tmp_path, case, {"path": IntegratedGradients(n_steps=3)})
    assert len(ASKED) == 2


def test_maps_from_elsewhere_are_told_apart(tmp_path):
    case = linear.case(n=BLOCK + 2)
    arrays = [torch.rand(BLOCK + 2, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    for _ in range(2):
        tables = [judged(tmp_path, case, {"theirs": array}) for array in arrays]
    assert len(ASKED) == 4  # two blocks for each array
    assert torch.equal(tables[1].scores[0, 0], arrays[1].flatten(1).amax(1).double())


def test_a_block_does_not_depend_on_those_before_it():
    case = linear.case(n=2 * BLOCK)
    metrics = [Counted(), Deletion(steps=3, baselines=0.0)]
    whole, last = judged(None, case, metrics=metrics), judged(None, case.take(range(BLOCK, 2 * BLOCK)), metrics=metrics)
    assert torch.equal(whole.scores[..., BLOCK:], last.scores)


def test_an_option_that_holds_a_row_for_each_image_is_not_cut():
    case = linear.case(n=BLOCK + 4)
    table = judged(None, case, metrics=[Counted(), Deletion(steps=3, baselines=case.x.flip(0))])
    assert not table.scores.isnan().any()
    assert ASKED == [("gradient", BLOCK + 4), ("product", BLOCK + 4)]


def test_a_renamed_and_a_damaged_file_are_refused(tmp_path):
    case, other = linear.case(n=3), linear.case(linear.network(seed=3), n=3)
    judged(tmp_path, case, {"gradient": Saliency()})
    (path,) = tmp_path.iterdir()
    judged(tmp_path, other, {"gradient": Saliency()})
    (second,) = set(tmp_path.iterdir()) - {path}
    content = path.read_bytes()
    path.write_bytes(second.read_bytes())
    with pytest.raises(ResultError, match="was renamed"):
        judged(tmp_path, case, {"gradient": Saliency()})
    path.write_bytes(content[:50])
    with pytest.raises(ResultError, match="is damaged"):
        judged(tmp_path, case, {"gradient": Saliency()})
    with pytest.raises(NetLensError, match="is no folder for scores"):
        judged(second, case)


def test_steps_count_methods_metrics_and_scores():
    steps: list[Step] = []
    judged(None, linear.case(n=BLOCK + 4), metrics=[Counted(), Gini()], progress=steps.append)
    assert str(steps[0]) == "gradient (1 of 2), counted (1 of 2)"
    assert [step.done for step in steps] == [0, 16, 32, 36, 40, 56, 72, 76]
    assert {step.total for step in steps} == {80}
