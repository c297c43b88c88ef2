"""`netlens stylize`: one picture in the style of others; or many, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netlens.cli.group import Failure, main, reported
from netlens.cli.options import model_option, opened, weights_option, whole_numbers
from netlens.cli.outputs import check_output
from netlens.errors import NetLensError

_NAMES = {
    "statistic": "gram, mean_std, sliced_wasserstein, histogram, contextual.",
    "loss": "squared, root.",
    "optimiser": "adam, lbfgs.",
    "start": "content, style, noise, or a picture.",
    "param": "fourier, pixel, pyramid.",
    "transforms": "none, jitter, standard: disturbances that the style has to survive.",
    "colour": "Whose colours: style; or the content's by luminance, match, histogram.",
}
_WHOLE = {
    "steps": "Iterations, shared between the scales.",
    "scales": "Of how many sizes, each half of the next.",
    "seed": "Of noise, disturbances and random weights.",
}
_NUMBERS = {
    "content_weight": "Weight of the content.",
    "style_weight": "Weight of the style.",
    "tv_weight": "Weight of the total variation.",
    "style_scale": "Size at which the style is looked at, relative to the content.",
    "lr": "Learning rate of the optimiser.",
    "target": "Stop below this sum of the losses.",
}
_LISTS = {
    "content_layers": ("A,B:WEIGHT,...", "Layers; see `netlens layers`. By default by depth."),
    "style_layers": ("A,B:WEIGHT,...", "Layers; by default one for each scale."),
    "style_weights": ("W,W,...", "What each of several styles counts for."),
    "size": ("SIDE|HxW", "The longer side, or height and width; by default 512."),
}


def _options(command: Any) -> Any:
    """An option for each setting of a style transfer; those not given stay out."""
    for name, (metavar, text) in reversed(_LISTS.items()):
        command = click.option(_flag(name), name, metavar=metavar, help=text)(command)
    for kind, texts in ((float, _NUMBERS), (int, _WHOLE), (str, _NAMES)):
        for name, text in reversed(texts.items()):
            command = click.option(_flag(name), name, type=kind, help=text)(command)
    return command


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@main.command()
@click.argument("pictures", nargs=-1, metavar="CONTENT STYLE...")
@model_option
@weights_option
@_options
@click.option("--content-mask", multiple=True, metavar="FILE", help="The part of the content for each style: white.")
@click.option("--style-mask", multiple=True, metavar="FILE", help="The part of each style that is shown: white.")
@click.option("--batch", type=Path, metavar="FILE", help="A .json or .toml of pairs and settings, instead of pictures.")
@click.option("-o", "--output", type=Path, metavar="OUT", help="A picture file; for --batch, a folder.")
def stylize(
    pictures: tuple[str, ...],
    model: str,
    weights: str | None,
    content_mask: tuple[str, ...],
    style_mask: tuple[str, ...],
    batch: Path | None,
    output: Path | None,
    **settings: Any,
) -> None:
    """Paint CONTENT in the style of one picture or several."""
    with reported():
        given = _settings(settings)
        if batch is not None:
            if pictures or given or content_mask or style_mask:
                raise NetLensError("pictures, masks and settings of a batch stand in its file; leave them out.")
            _batch(batch, Path("stylized") if output is None else output, model, weights)
            return
        if len(pictures) < 2:
            raise NetLensError("give a content picture and a style, or --batch FILE.")
        out = Path(f"{Path(pictures[0]).stem}-stylized.jpg") if output is None else output
        _one(pictures, model, weights, _regions(pictures[1:], content_mask, style_mask), out, given)


def _one(
    pictures: tuple[str, ...], model: str, weights: str | None, regions: Any, out: Path, settings: dict[str, Any]
) -> None:
    from netlens.images import save
    from netlens.style import from_settings
    from netlens.style.batch import seeded

    transfer = from_settings(settings)
    check_output(out, pictures)
    flat = seeded(opened, model, weights, transfer.seed)
    render = transfer(flat, pictures[0], list(pictures[1:]), regions)
    if out.suffix == ".png":
        render.save(out)  # with its provenance
    else:
        save(render.images[0], out)
    for name, loss in render.provenance.options["losses"].items():
        click.echo(f"  {name}: {loss['start']:.4f} at the content, {loss['end']:.4f} now")
    click.echo(f"wrote {out}")


def _batch(file: Path, out: Path, model: str, weights: str | None) -> None:
    from netlens.style import Batch, contact_sheet
    from netlens.style.contact import SHEET
    from netlens.zoo import open_network

    outcomes = []
    for outcome in Batch.read(file, model, weights).run(out, open_network):
        outcomes.append(outcome)
        text = f": {outcome.why}" if outcome.why else ""
        click.echo(f"{outcome.what} {outcome.result}{text}")
    click.echo(f"wrote {contact_sheet(outcomes, out / SHEET)}")
    failed = sum(outcome.what == "failed" for outcome in outcomes)
    if failed:
        raise Failure(f"{failed} of {len(outcomes)} pictures failed; the same command tries these again.")


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in given.items() if value is not None}
    for name in ("content_layers", "style_layers"):
        if name in settings:
            settings[name] = _layers(settings[name])
    if "style_weights" in settings:
        settings["style_weights"] = [_number(part, "--style-weights") for part in settings["style_weights"].split(",")]
    if "size" in settings:
        sides = whole_numbers(settings["size"].lower().replace("x", ","), "the sides of --size")
        settings["size"] = sides[0] if len(sides) == 1 else sides
    return settings


def _layers(text: str) -> dict[str, float]:
    parts = [part.rpartition(":") if ":" in part else (part, "", "1") for part in text.split(",")]
    return {name.strip(): _number(weight, f"the weight of layer {name!r}") for name, _, weight in parts}


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise NetLensError(f"{what} takes numbers, not {text!r}.") from None


def _regions(styles: tuple[str, ...], content_masks: tuple[str, ...], style_masks: tuple[str, ...]) -> Any:
    if not content_masks and not style_masks:
        return None
    for name, masks in (("--content-mask", content_masks), ("--style-mask", style_masks)):
        if masks and len(masks) != len(styles):
            raise NetLensError(f"{len(styles)} style(s) take as many of {name}, not {len(masks)}.")
    blank = (None,) * len(styles)
    return list(zip(content_masks or blank, style_masks or blank, strict=True))
