"""`netlens recommend`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from netlens.evaluation import Recommendation
from netlens.world.folder import write_world
from tests.cli.commands import failed, run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("data") / "world", 4, progress=False)


def test_a_folder_with_masks_becomes_an_answer(data: Path, tmp_path: Path) -> None:
    options = ("--method", "saliency,lrp,attention_rollout", "--metric", "energy_inside,gini", "--tuned", "0")
    result = run("recommend", data / "images", "--masks", data / "masks", *options, "-o", tmp_path / "best.png")
    assert result.exit_code == 0, result.output
    assert "shapes, 4 images: lrp, by energy_inside (more is better) " in result.stdout
    assert "netlens explain IMAGE --method lrp\n" in result.stdout
    assert "attention_rollout does not race: " in result.stderr
    assert "methods, 4 images: 6 in the race, lrp leads" in result.stderr
    with Image.open(tmp_path / "best.png") as drawn:
        assert json.loads(drawn.text["netlens"])["recommendation"] == "lrp"  # type: ignore[attr-defined]
    assert Recommendation.load(tmp_path / "best.json").method == "lrp"
    assert list((tmp_path / "best.parts").iterdir())


def test_wrong_words_are_one_line(data: Path, tmp_path: Path) -> None:
    picture = next((data / "images").rglob("*.png"))
    failed(run("recommend", picture, "-o", tmp_path / "t.csv"), "must end in .png or .json")
    failed(run("recommend", picture, "--metric", "giny", "-o", tmp_path / "t.png"), "no metric 'giny'")
    failed(run("recommend", picture, "--method", "grat_cam", "-o", tmp_path / "t.png"), "no method 'grat_cam'")
    failed(run("recommend", tmp_path, "-o", tmp_path / "t.png"), "holds no images")
