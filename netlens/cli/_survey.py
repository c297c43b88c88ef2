"""`netlens survey`: questions about a network and a whole data set, answered in parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netlens.cli._generated import Generated, flags_of, read_options
from netlens.cli._group import main, reported, stoppable
from netlens.cli._options import classes_option, model_option, opened, weights_option
from netlens.cli._surveyed import PARTS, RESULT, TABLES, Surveyed, claim, network_named, weights_named
from netlens.errors import NetLensError, NotApplicable
from netlens.extras import extra

if TYPE_CHECKING:
    from netlens.survey import SurveyResult


def _flags() -> list[click.Option]:
    from netlens.survey import Survey

    return flags_of(Survey, leave_out=["flat", "data", "questions", "parts", "preprocessing", "progress"])


@main.command(cls=Generated, flags=_flags)
@click.argument("data", metavar="FOLDER|FILE.csv")
@model_option
@weights_option
@classes_option
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="KEY",
    help="A layer whose channels are asked about; may be repeated. By default the last layers of up to four blocks.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1, max=1000),
    default=9,
    show_default=True,
    help="How many pictures of each channel are kept: those that excite it most, and as many random ones.",
)
@click.option(
    "--predictions/--no-predictions", default=True, help="Leave predictions out, for a network without classes."
)
@click.option("--tables", is_flag=True, help="Also write the tables for other programs; needs netlens[survey].")
@click.option("-o", "--output", type=Path, required=True, metavar="DIR", help="The folder of the survey.")
def survey(
    data: str,
    model: str,
    weights: str,
    classes: str | None,
    layers: tuple[str, ...],
    top: int,
    predictions: bool,
    tables: bool,
    output: Path,
    **values: Any,
) -> None:
    """Ask a network about all pictures of a folder with a folder for each class, or of a CSV file.

    The answers are predictions with their losses, and of some layers the pictures that excite each channel, random
    ones, and statistics. After Ctrl-C, the same command goes on. `netlens report DIR` makes a page of it.

    \b
    netlens survey photos --model mobilenet_v2 --weights path.safetensors -o survey
    netlens survey world/images --layer stem --layer trunk_output.block2 -o survey
    """
    with stoppable(f"what is done is kept in {output / PARTS}, and the same command goes on."), reported():
        _run(data, model, weights, classes, layers, top, predictions, tables, output, values)


def _run(
    data: str,
    model: str,
    weights: str,
    classes: str | None,
    layers: tuple[str, ...],
    top: int,
    predictions: bool,
    tables: bool,
    output: Path,
    values: dict[str, Any],
) -> None:
    from netlens.survey import Predictions, Survey, usual_questions

    if tables:
        with extra("survey", "--tables needs PyArrow"):
            import pyarrow  # noqa: F401
    if not Path(data).exists():
        raise NetLensError(f"there is no folder or file {data}.")
    flat = opened(model, weights, classes)
    questions = usual_questions(flat, layers or None, top)
    if not predictions:
        questions = [question for question in questions if not isinstance(question, Predictions)]
    plan = Survey(flat, data, questions, parts=output / PARTS, **read_options(Survey, values))
    record = Surveyed(
        data=str(Path(data).absolute()),
        model=network_named(model),
        weights=weights_named(weights),
        classes=None if classes is None else str(Path(classes).absolute()),
        layers=layers or None,
        top=top,
        predictions=predictions,
        shard=plan.shard,
    )
    claim(output, record)
    try:
        result = plan.run()
    except NotApplicable as error:
        hint = " A network without classes is asked with --no-predictions." if predictions else ""
        raise NotApplicable(f"{error}{hint}") from error
    result.save(output / RESULT)
    if tables:
        result.export(output / TABLES)
    _say(result)
    click.echo(f"wrote {output / RESULT}; `netlens report {output}` makes a page of it")


def _say(result: SurveyResult) -> None:
    if result.has_predictions and (labeled := int(result.predictions.labeled.sum())):
        predictions = result.predictions
        click.echo(
            f"{predictions.top1:.1%} of {labeled:,} pictures right, {predictions.top5:.1%} among the five best classes"
        )
    else:
        click.echo(f"{len(result):,} pictures, without labels")
    if result.unreadable:
        first, *others = result.unreadable
        more = f", and {len(others):,} more" if others else ""
        click.echo(f"note: a file cannot be read: {first.name}{more}; they count nowhere", err=True)
