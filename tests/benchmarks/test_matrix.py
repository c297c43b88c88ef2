"""The matrix of networks: passes on a network that is unrolled right, and fails, loudly, on one that is not.

A part of its networks is measured here, so that the tables of docs/networks.md stay true.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from benchmarks.matrix import SUMMARY, Answer, Built, Row, Subject, measure, subjects_of, summary, with_methods
from benchmarks.matrix.__main__ import main
from netlens.flat import FlatModel

SOURCES = {
    "timm": (
        "timm:smallest",
        ("test_vit", "test_convnext", "test_nfnet", "test_byobnet"),
    ),
    "transformers": (
        "huggingface:subjects",
        ("ViTForImageClassification", "Dinov2WithRegistersBackbone", "YolosForObjectDetection"),
    ),
    "torch": ("wrappers:subjects", ("AveragedModel", "*args, **kwargs")),
    "segmentation_models_pytorch": ("segmentation_models:subjects", ("Unet, resnet18",)),
    "monai": ("monai:subjects", ("UNet, 2-D",)),
}


@pytest.mark.parametrize(("library", "name"), [(key, name) for key, (_, names) in SOURCES.items() for name in names])
def test_a_network_of_each_kind_passes(library: str, name: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    row = measure(next(subject for subject in subjects_of(SOURCES[library][0]) if subject.name == name))
    assert row.passed and not row.unbuilt, row
    assert row.opaque == {}
    assert row.found["grad_cam"].value == row.found["place"].value == 1, row.found
    assert row.found["deep_lift"].value < 1e-3, row.found
    assert row.found["lrp"].value is not None, row.found


def test_a_process_of_its_own_gives_a_row_of_the_table(tmp_path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    assert main(["torchvision", "squeezenet1_1"]) == 0
    assert "| squeezenet1_1 | 66 | 0 | equal |" in capsys.readouterr().out
    assert (tmp_path / "out/matrix/torchvision.jsonl").read_text().count("\n") == 1


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(x)
        return scores


def of(network: nn.Module) -> Subject:
    return Subject("tiny", "test", lambda: Built(network, torch.ones(1, 3)))


def test_a_network_that_differs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    other = FlatModel.from_nn_Module(Tiny())
    monkeypatch.setattr(FlatModel, "from_nn_Module", lambda network, **options: other)
    row = measure(of(Tiny()), methods=())
    assert row.difference is not None and row.difference > 0.01
    assert not row.passed and row.verdict != "equal"


def test_a_network_that_cannot_be_unrolled_is_a_row_that_fails() -> None:
    class Torn(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) if x.sum() > 0 else x

    row = measure(of(Torn()), methods=())
    assert row.verdict == "refused" and "TraceError" in row.refusal and not row.passed


def test_a_network_that_does_not_run_does_not_count() -> None:
    row = measure(of(nn.Linear(4, 2)))
    assert row.verdict == "not built" and "RuntimeError" in row.unbuilt and row.passed


def test_a_picture_that_changes_nothing_is_told() -> None:
    class Deaf(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(0 * x)

    row = measure(of(Deaf()), methods=("deep_lift",))
    assert "does not change the scores" in row.found["deep_lift"].refusal, row.found


def test_the_table_has_a_column_for_the_place() -> None:
    answers = {"grad_cam": Answer(0.0, "`layer` 4×4"), "place": Answer(1.0, "agreement 0.99, carried 1")}
    rows = [Row("one", "test", 1, {}, 0.0, found=answers)]
    rows += [Row("two", "test", 1, {}, 0.0, found={**answers, "place": Answer(0.0, "agreement 0.10, carried 1")})]
    rows += [Row("three", "test", 1, {}, 0.0, found={name: Answer(refusal="nowhere") for name in answers})]
    table = with_methods(rows)
    assert "| `layer` 4×4 | right | **missed** |" in table
    assert "| **wrong**, agreement 0.10, carried 1 | **missed** |" in table
    assert table.count("nowhere") == 1
    assert summary("test", rows) == "| test | 3 | 3 | 3 | 3 | 0 | 0 | 1 of 2 | 0 of 2 | 1 |  |  |"
    assert {line.count("|") for line in SUMMARY.splitlines()} == {summary("test", rows).count("|")}


def test_a_row_is_the_same_after_it_lay_in_a_file() -> None:
    row = measure(of(Tiny()))
    assert row.found.keys() == {"grad_cam", "place", "deep_lift", "lrp"}
    assert Row.from_json(row.to_json()) == row
