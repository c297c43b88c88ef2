"""`netlens evaluate`."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from netlens.evaluation import Evaluation, Explanation
from netlens.world.folder import write_world
from tests.cli.commands import failed, run

FAST = ("--method", "grad_cam,saliency", "--metric", "gini,deletion:steps=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("data") / "world", 4, progress=False)


def test_a_folder_with_masks_becomes_a_table(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    result = run("evaluate", data / "images", *FAST, "--metric", "pointing_game", "--masks", data / "masks", "-o", out)
    assert result.exit_code == 0, result.output
    assert "gini (more is better): " in result.output
    rows = list(csv.DictReader(out.open()))
    assert {row["method"] for row in rows} >= {"grad_cam", "saliency", "RandomMap"}
    assert {row["metric"] for row in rows} == {"gini", "deletion", "pointing_game"}
    assert {row["images"] for row in rows if row["metric"] == "deletion"} == {"4"}


def test_a_picture_is_drawn_and_json_is_read_back(data: Path, tmp_path: Path) -> None:
    picture = next((data / "images").rglob("*.png"))
    assert run("evaluate", picture, *FAST, "--no-controls", "-o", tmp_path / "t.png").exit_code == 0
    with Image.open(tmp_path / "t.png") as drawn:
        assert drawn.size[0] > 400
    assert run("evaluate", picture, *FAST, "--target", "0", "-o", tmp_path / "t.json").exit_code == 0
    table = Evaluation.load(tmp_path / "t.json")
    assert table.metrics == ("gini", "deletion")
    assert table.provenance["explained"] == "logit(0)"


def test_a_method_without_meaning_says_why(data: Path, tmp_path: Path) -> None:
    picture = next((data / "images").rglob("*.png"))
    out = tmp_path / "t.csv"
    result = run("evaluate", picture, "--method", "attention_rollout,saliency", "--metric", "gini", "-o", out)
    assert result.exit_code == 0
    assert "attention_rollout: " in result.output


def test_wrong_words_are_one_line(data: Path, tmp_path: Path) -> None:
    picture = next((data / "images").rglob("*.png"))
    failed(run("evaluate", picture, "--metric", "giny"), "no metric 'giny'")
    failed(run("evaluate", picture, "-o", tmp_path / "t.jpg"), "must end in .csv, .json or .png")
    failed(run("evaluate", picture, "--method", "grat_cam"), "no method 'grat_cam'")
    failed(run("evaluate", picture, *FAST, "--masks", tmp_path, "-o", tmp_path / "t.png"), "have no mask in")
    failed(run("evaluate", tmp_path, *FAST), "holds no images")


def test_after_an_interruption_the_same_command_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.csv"
    command = ("evaluate", data / "images", *FAST, "--no-controls", "-o", out)
    methods = []

    def explained(*arguments: object) -> Explanation:
        methods.append(arguments[-1])
        if len(methods) == 2:
            raise KeyboardInterrupt
        return of(*arguments)

    of = Explanation.of
    monkeypatch.setattr(Explanation, "of", explained)
    result = run(*command)
    assert result.exit_code == 130
    assert f"the scores so far are in {tmp_path / 't.parts'}, and the same command goes on" in result.stderr
    assert not out.exists()
    assert run(*command).exit_code == 0
    assert methods == ["grad_cam", "saliency", "saliency"]  # those of the first method were there
    assert {row["images"] for row in csv.DictReader(out.open())} == {"4"}
