"""A survey of a small world, with files that are no pictures and names that are no text, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from netlens import open_network
from netlens.report import Report
from netlens.survey import Survey, SurveyResult, usual_questions
from netlens.world.folder import write_world

LAYERS = ["stem", "trunk_output.block2"]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'.replace("/", "∕")
SMALL = Report(losses=4, pairs=3, examples=2, explained_classes=4, averaged=3, channels=3, steps=2)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_world(tmp_path_factory.mktemp("data") / "world", 30, progress=False) / "images"
    scenes = sorted(folder.glob("*/*.png"))
    # disguised as the class of others, so that something is confused
    scenes[0].rename(folder / "dotted_star" / f"{HOSTILE}.png")
    scenes[3].rename(folder / "dotted_star" / "disguised.png")
    (folder / "striped_disc" / f"no picture {HOSTILE}.png").write_text("nothing")
    return folder


@pytest.fixture(scope="session")
def survey(data: Path) -> SurveyResult:
    return Survey(open_network(), data, usual_questions(open_network(), LAYERS, 3), progress=False).run()


@pytest.fixture(scope="session")
def pages(survey: SurveyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report."""
    folder = tmp_path_factory.mktemp("report") / "report"
    SMALL.write(survey, open_network(), folder, "shapes on <world>", progress=False)
    return folder
