"""`netlens evaluate`: which explanations of some pictures can be trusted, by metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netlens.cli._group import main, reported
from netlens.cli._options import classes_option, methods_named, methods_option, model_option, opened, weights_option
from netlens.cli._outputs import check_output
from netlens.errors import ImageError, NetLensError

if TYPE_CHECKING:
    from torch import Tensor

    from netlens.evaluation import Evaluation
    from netlens.evaluation.metrics import Metric
    from netlens.lens import NetLens

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
@click.option("--target", metavar="NAME|INDEX", help="The class to explain; by default the predicted one.")
@click.option(
    "--masks",
    metavar="FOLDER",
    help="A folder with a mask for each picture, of the same path, white on the object that truly causes the class.",
)
@click.option("--controls/--no-controls", default=True, show_default=True, help="Whether controls are judged too.")
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
    output: str,
) -> None:
    """Judge explanations of pictures by metrics, beside controls that know nothing of the network.

    IMAGE is a picture, or a folder of pictures. The file shows the mean of each method and metric with its interval.

    \b
    netlens evaluate photo.jpg --method grad_cam,lrp --metric deletion,insertion
    netlens evaluate photo.jpg --metric deletion:steps=16,baselines=black -o table.csv
    """
    with reported():
        from netlens.attribution import method_from
        from netlens.lens import NetLens

        out = Path(output)
        if out.suffix.lower() not in _SUFFIXES:
            raise ImageError(f"{output} must end in .csv, .json or .png.")
        judges = _metrics(metrics)
        chosen = {text: method_from(text) for text in methods_named(methods)}
        names = _pictures(images)
        paths = [str(folder / name) for folder, name in names]
        check_output(out, paths)
        lens = NetLens(opened(model, weights, classes), paths, target)
        truth = None if masks is None else _masks(lens, masks, [name for _, name in names])
        table = lens.evaluate(chosen, judges, truth, controls=controls)
        _tell(table)
        if out.suffix.lower() == ".png":
            from netlens.images import save

            save(table.show().rgba(), out)
        else:
            table.save(out)
        click.echo(f"wrote {out}")


def _tell(table: Evaluation) -> None:
    from netlens.evaluation import METRICS

    for names, reason in table.why.items():
        click.echo(f"{', '.join(names)}: {reason}", err=True)
    for metric in table.metrics:
        ranking = [name for name in table.ranking(metric) if name not in table.controls]
        if not ranking:
            continue
        best = ranking[0]
        ties = [name for name in ranking[1:] if not table.differ(best, name, metric)]
        direction = "more" if METRICS[metric].more_is_better else "less"
        line = f"{metric} ({direction} is better): {best} {table.of(best, metric)}"
        if len(table) > 1 and ties:
            line += f"; not told apart: {', '.join(ties)}"
        control = table.beaten(metric)
        click.echo(line + (f"; but the control {control} is better" if control else ""))


def _metrics(texts: Sequence[str]) -> list[Metric] | None:
    """The metrics that texts such as `deletion:steps=16` name; None for the usual ones."""
    from netlens.evaluation import METRICS, metric_named
    from netlens.options import parse, split

    pairs = [pair for text in texts for pair in ([(name, "") for name in METRICS] if text == "all" else split(text))]
    if texts and not pairs:
        raise NetLensError("--metric names no metric; docs/evaluation.md lists them.")
    return [parse(metric_named(name), options) for name, options in pairs] or None


def _pictures(images: Sequence[str]) -> list[tuple[Path, str]]:
    """The folder of each picture, and its path within; that of a single file is its name."""
    from netlens.images import in_folder

    pictures: list[tuple[Path, str]] = []
    for image in map(Path, images):
        if image.is_dir():
            pictures += [(image, path.relative_to(image).as_posix()) for path in in_folder(image)]
        else:
            pictures.append((image.parent, image.name))
    return pictures


def _masks(lens: NetLens, folder: str, names: Sequence[str]) -> Tensor:
    """(N, H, W), bool: the masks, preprocessed as the pictures are."""
    from netlens.masks import masks_of

    size = lens.x.shape[-2], lens.x.shape[-1]
    masks, has_mask = masks_of(folder, names, lens.flat.adapter.preprocessing, size)
    missing = [name for name, has in zip(names, has_mask.tolist(), strict=True) if not has]
    if missing:
        raise ImageError(f"{len(missing)} pictures have no mask in {folder}, such as {missing[0]}; give it that name.")
    return masks
