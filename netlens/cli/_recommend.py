"""`netlens recommend`: which method, with which options, explains a network best on some pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from netlens.cli._group import main, reported
from netlens.cli._judged import masks_for, metrics_named, parts_of, parts_option, pictures_of, resumable, truth_options
from netlens.cli._options import classes_option, methods_named, model_option, opened, weights_option
from netlens.cli._outputs import check_output
from netlens.errors import ImageError

if TYPE_CHECKING:
    from netlens.evaluation import Recommendation


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="FOLDER|IMAGE...")
@model_option
@weights_option
@classes_option
@click.option(
    "--method",
    "methods",
    default=[],
    multiple=True,
    metavar="A,B:OPTION=VALUE,...|all",
    help="The methods that race; by default the usual ones, without those that run the network thousands of times.",
)
@click.option(
    "--metric",
    "metrics",
    default=[],
    multiple=True,
    metavar="A,B:OPTION=VALUE,...",
    help="The metrics. The first decides, and the others stand beside it. By default energy_inside decides if there "
    "are masks, else deletion. docs/evaluation.md lists the metrics.",
)
@truth_options
@click.option(
    "--tuned",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Of how many methods the options race: layers, baselines, noise, rules, windows.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of the order of the pictures."
)
@parts_option
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    default="recommendation.png",
    show_default=True,
    help="The picture (.png), or everything but the maps (.json). The other one is written beside it.",
)
def recommend(
    images: tuple[str, ...],
    model: str,
    weights: str,
    classes: str | None,
    methods: tuple[str, ...],
    metrics: tuple[str, ...],
    target: str | None,
    masks: str | None,
    tuned: int,
    seed: int,
    parts: Path | None,
    output: str,
) -> None:
    """Find the explanation to use: the method and the options that a metric likes best on your pictures.

    Methods race beside controls that know nothing of the network. Who is clearly worse leaves early. Then the options
    of the best race. The answer says how sure it is, what cannot be told apart from it, and where other metrics
    disagree. Give 8 pictures or more, better 30. After Ctrl-C, the same command goes on.

    \b
    netlens recommend photos --model mobilenet_v2 --weights path.safetensors
    netlens recommend world/images --masks world/masks --metric energy_inside,deletion -o best.png
    """
    with resumable(scores := parts_of(parts, output)), reported():
        from netlens.attribution import method_from
        from netlens.lens import NetLens

        out = Path(output)
        if out.suffix.lower() not in (".png", ".json"):
            raise ImageError(f"{output} must end in .png or .json.")
        judges = metrics_named(metrics)
        chosen = [method_from(text) for text in methods_named(methods)] if methods else None
        names = pictures_of(images)
        paths = [str(folder / name) for folder, name in names]
        check_output(out, paths)
        lens = NetLens(opened(model, weights, classes), paths, target)
        truth = None if masks is None else masks_for(lens, masks, [name for _, name in names])
        answer = lens.recommend(chosen, judges, truth, tuned=tuned, seed=seed, parts=scores)
        _tell(answer)
        for suffix in (".png", ".json"):
            click.echo(f"wrote {answer.save(out.with_suffix(suffix))}")


def _tell(answer: Recommendation) -> None:
    for names, reason in answer.race.why.items():
        if len(names) == 1:
            click.echo(f"{names[0]} does not race: {reason}", err=True)
    for one in answer.rounds:
        click.echo(one, err=True)
    click.echo(str(answer))
    click.echo(f"use it: netlens explain IMAGE --method {answer.text}")
