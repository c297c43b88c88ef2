"""`netlens report`: the pages of a survey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netlens.cli._generated import Generated, flags_of, read_options
from netlens.cli._group import main, reported, stoppable
from netlens.cli._options import MODELS, classes_option, opened
from netlens.cli._surveyed import REPORT, RESULT, read
from netlens.errors import NetLensError


def _flags() -> list[click.Option]:
    from netlens.report import Report

    return flags_of(Report)


@main.command(cls=Generated, flags=_flags)
@click.argument("folder", metavar="DIR", type=Path)
@click.option("--model", metavar="NAME", help=f"By default that of the survey. {MODELS}")
@click.option("--weights", metavar="FILE|pretrained|random", help="By default those of the survey.")
@classes_option
@click.option("--data", metavar="FOLDER|FILE.csv", help="Where the pictures are now, if they were moved.")
def report(
    folder: Path, model: str | None, weights: str | None, classes: str | None, data: str | None, **values: Any
) -> None:
    """Make pages of a survey: DIR/report/index.html, which any browser opens without a server.

    They show accuracy, confusion, calibration, the largest losses with heat maps, what the network looks at by class,
    and the channels of each layer.

    \b
    netlens report survey
    netlens report survey --losses 100 --channels 64 --steps 128
    """
    with stoppable(f"{folder / REPORT} is as it was."), reported():
        from netlens.report import Report
        from netlens.survey import SurveyResult

        options = Report(**read_options(Report, values))
        record = read(folder)
        if not (folder / RESULT).is_file():
            raise NetLensError(f"the survey of {folder} has not ended; run its `netlens survey` again, it goes on.")
        if model is None and record.runs_code:
            raise NetLensError(f"the network comes from code; say --model {record.model} to run that file.")
        survey = SurveyResult.load(folder / RESULT).with_pictures(record.data if data is None else data)
        flat = opened(
            record.model if model is None else model,
            record.weights if weights is None else weights,
            record.classes if classes is None else classes,
        )
        click.echo(f"wrote {options.write(survey, flat, folder / REPORT, record.title)}")
