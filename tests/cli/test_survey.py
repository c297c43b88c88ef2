"""`netlens survey` and `netlens report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netlens.results import storage
from netlens.survey import SurveyResult
from netlens.world.folder import write_world
from tests.cli.commands import failed, run

FEW = ("--losses", 2, "--explained-classes", 2, "--channels", 1, "--steps", 0)
NETWORK = """
from torch import nn

def make():
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def embedding():
    return nn.Sequential(make(), nn.LayerNorm(4))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("data") / "world", 15, progress=False) / "images"


def survey(data: Path, out: Path, *more: Any) -> Any:
    return run("survey", data, "-o", out, "--layer", "stem", "--top", 2, "--shard", 4, *more)


def test_a_survey_and_its_report(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "survey"
    result = survey(data, out, "--tables")
    assert result.exit_code == 0, result.output
    assert "of 15 pictures right" in result.output
    assert sorted(path.name for path in out.iterdir()) == ["parts", "survey.json", "survey.safetensors", "tables"]
    saved = SurveyResult.load(out / "survey.safetensors")
    assert len(saved) == 15 and len(saved.top("stem", 0)) == 2
    assert f"{saved.predictions.top1:.1%}" in result.output
    assert len([*(out / "tables").iterdir()]) == 3
    report = run("report", out, *FEW)
    assert report.exit_code == 0, report.output
    page = (out / "report" / "index.html").read_text()
    assert "shapes on world/images" in page and f"{saved.predictions.top1:.1%}" in page
    # the pictures were moved
    moved = data.rename(data.with_name("elsewhere"))
    try:
        failed(run("report", out, *FEW), "holds none of the 15 pictures")
        assert run("report", out, *FEW, "--data", moved).exit_code == 0
    finally:
        moved.rename(data)


def test_it_goes_on_after_ctrl_c(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, whole = tmp_path / "survey", tmp_path / "whole"
    write = storage.write

    def interrupted(path: Path, data: bytes) -> Path:
        if path.name.startswith("000002"):  # the third part
            raise KeyboardInterrupt
        return write(path, data)

    monkeypatch.setattr(storage, "write", interrupted)
    stopped = survey(data, out)
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.stderr and "Traceback" not in stopped.output
    times = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert len(times) == 2
    failed(run("report", out), "has not ended")
    monkeypatch.undo()
    assert survey(data, out).exit_code == survey(data, whole).exit_code == 0
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert (out / "survey.safetensors").read_bytes() == (whole / "survey.safetensors").read_bytes()


def test_a_folder_of_something_else_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    failed(survey(data, out), "holds no survey")
    failed(run("report", out), "holds no survey")
    assert [path.name for path in out.iterdir()] == ["letter.txt"]
    (out / "survey.json").write_text('{"survey": 1}')
    failed(survey(data, out), "holds no survey")
    failed(survey(data, out / "letter.txt"), "holds no survey")


def test_a_folder_of_another_survey_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "survey"
    assert survey(data, out).exit_code == 0
    failed(run("survey", data, "-o", out, "--layer", "stem", "--shard", 4), "another survey", "top 2")
    failed(run("survey", data, "-o", out, "--model", "shapes_vit"), "another survey", "model 'shapes'")
    failed(survey(data, tmp_path / "new", "--layer", "nothing"), "has no layer 'nothing'")
    failed(survey(tmp_path / "nothing", tmp_path / "new"), "no folder or file")
    assert not (tmp_path / "new").exists()


def test_code_is_run_only_if_it_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    classes = tmp_path / "names.txt"
    classes.write_text("\n".join(sorted(path.name for path in data.iterdir())[:4]))
    table = tmp_path / "some.csv"
    files = sorted(data.glob("*/*.png"))[:4]
    table.write_text("image,label\n" + "\n".join(f"{path},{path.parent.name}" for path in files))
    out = tmp_path / "survey"
    network = f"{tmp_path / 'net.py'}:make"
    options = ("--model", network, "--classes", classes)
    result = run("survey", table, "-o", out, *options)
    assert result.exit_code == 0, result.output
    failed(run("report", out, *FEW), "comes from code", f"--model {network}")
    record = json.loads((out / "survey.json").read_text())
    assert record["model"] == network and record["data"] == str(table)


def test_a_network_without_classes_is_asked_without_predictions(data: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    out = tmp_path / "survey"
    command = ("survey", data, "-o", out, "--model", f"{tmp_path / 'net.py'}:embedding")
    failed(run(*command), "--no-predictions")
    result = run(*command, "--no-predictions")
    assert result.exit_code == 0, result.output
    assert not SurveyResult.load(out / "survey.safetensors").has_predictions
