"""`netlens evaluate`: which explanations of some pictures can be trusted, by metrics."""

from __future__ import annotations

from pathlib import Path

import click

from netlens.cli._group import main, reported
from netlens.cli._judged import masks_for, metrics_named, parts_of, parts_option, pictures_of, resumable, truth_options
from netlens.cli._options import classes_option, methods_named, methods_option, model_option, opened, weights_option
from netlens.cli._outputs import check_output
from netlens.errors import ImageError

DEFAULT_METHODS = "saliency,input_x_gradient,integrated_gradients,guided_backprop,lrp,grad_cam,occlusion"
_SUFFIXES = (".csv", ".json", ".png")


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@model_option
@weights_option
@classes_option
@methods_option(DEFAULT_METHODS)
@click.option(
    "--metric",
    "metrics",
    default=[],
    multiple=True,
    metavar="A,B:OPTION=VALUE,...|all",
    help="The metrics; by default one or two of each family. docs/evaluation.md lists them.",
)
@truth_options
@click.option("--controls/--no-controls", default=True, show_default=True, help="Whether controls are judged too.")
@parts_option
@click.option("-o", "--output", metavar="OUT", default="evaluation.png", show_default=True, help=".png, .csv or .json.")
def evaluate(
    images: tuple[str, ...],
    model: str,
    weights: str,
    classes: str | None,
    methods: tuple[str, ...],
    metrics: tuple[str, ...],
    target: str | None,
    masks: str | None,
    controls: bool,
    parts: Path | None,
    output: str,
) -> None:
    """Judge explanations of pictures by metrics, beside controls that know nothing of the network.

    IMAGE is a picture, or a folder of pictures. The file shows the mean of each method and metric with its interval.
    After Ctrl-C, the same command goes on, and one with further methods or metrics computes only what is new.

    \b
    netlens evaluate photo.jpg --method grad_cam,lrp --metric deletion,insertion
    netlens evaluate photo.jpg --metric deletion:steps=16,baselines=black -o table.csv
    """
    with resumable(scores := parts_of(parts, output)), reported():
        from netlens.attribution import method_from
        from netlens.lens import NetLens

        out = Path(output)
        if out.suffix.lower() not in _SUFFIXES:
            raise ImageError(f"{output} must end in .csv, .json or .png.")
        judges = metrics_named(metrics)
        chosen = {text: method_from(text) for text in methods_named(methods)}
        names = pictures_of(images)
        paths = [str(folder / name) for folder, name in names]
        check_output(out, paths)
        lens = NetLens(opened(model, weights, classes), paths, target)
        truth = None if masks is None else masks_for(lens, masks, [name for _, name in names])
        table = lens.evaluate(chosen, judges, truth, controls=controls, parts=scores)
        for combination, reason in table.why.items():
            click.echo(f"{', '.join(combination)}: {reason}", err=True)
        click.echo(table)
        if out.suffix.lower() == ".png":
            from netlens.images import save

            save(table.show().rgba(), out)
        else:
            table.save(out)
        click.echo(f"wrote {out}")
