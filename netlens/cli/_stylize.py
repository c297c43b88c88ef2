"""`netlens stylize`: one picture in the style of others; or many pictures, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from netlens.cli._generated import Generated, flags_of, read_options
from netlens.cli._group import Failure, main, reported
from netlens.cli._options import model_option, opened, weights_option
from netlens.cli._outputs import check_output
from netlens.errors import NetLensError

if TYPE_CHECKING:
    from netlens.visualization.style import Batch


def _flags() -> list[click.Option]:
    from netlens.visualization.style import StyleTransfer

    return flags_of(StyleTransfer, leave_out=["stop"])


@main.command(cls=Generated, flags=_flags)
@click.argument("pictures", nargs=-1, metavar="CONTENT STYLE...")
@model_option
@weights_option
@click.option("--content-mask", multiple=True, metavar="FILE", help="For each style, a mask of the content (white).")
@click.option("--style-mask", multiple=True, metavar="FILE", help="For each style, a mask of the style (white).")
@click.option(
    "--batch",
    type=Path,
    metavar="FILE",
    help="A .json or .toml file with pairs and settings, in place of pictures; or a .zip with its pictures. --model "
    "and --weights are for settings without a network.",
)
@click.option("-o", "--output", type=Path, metavar="OUT", help="A picture file; for --batch, a folder.")
def stylize(
    pictures: tuple[str, ...],
    model: str,
    weights: str,
    content_mask: tuple[str, ...],
    style_mask: tuple[str, ...],
    batch: Path | None,
    output: Path | None,
    **settings: Any,
) -> None:
    """Paint CONTENT in the style of one picture or several.

    \b
    netlens stylize photo.jpg painting.jpg --size 256
    netlens stylize photo.jpg painting.jpg mosaic.jpg --style-weights 2,1 -o both.png
    netlens stylize --batch jobs.json -o stylized
    """
    source = click.get_current_context().get_parameter_source
    with reported():
        from netlens.visualization.style import Batch, StyleTransfer, unpacked

        options = read_options(StyleTransfer, settings)
        if batch is not None:
            if pictures or options or content_mask or style_mask:
                raise NetLensError("pictures, masks and settings of a batch are in its file; leave them out.")
            network = {"model": model, "weights": weights}
            explicit = {name: value for name, value in network.items() if source(name) is not ParameterSource.DEFAULT}
            with unpacked(batch) as file:
                root = file.parent if file != batch else None  # the pictures of a .zip lie in it
                _batch(
                    Batch.read(file, explicit.get("model"), explicit.get("weights"), root),
                    Path("stylized") if output is None else output,
                )
            return
        if len(pictures) < 2:
            raise NetLensError("give a content picture and a style, or --batch FILE.")
        default = Path(f"{Path(pictures[0]).stem}-stylized.jpg")
        out = default if output is None else output / default if output.is_dir() else output
        masks = *content_mask, *style_mask
        _single(pictures, masks, model, weights, _regions(pictures[1:], content_mask, style_mask), out, options)


def _single(
    pictures: tuple[str, ...],
    masks: tuple[str, ...],
    model: str,
    weights: str,
    regions: Any,
    out: Path,
    settings: dict[str, Any],
) -> None:
    from netlens.images import format_of, save
    from netlens.visualization.style import STARTS, from_settings

    transfer = from_settings(settings)
    start = () if transfer.start in STARTS else (transfer.start,)
    check_output(out, [*pictures, *masks, *start])
    format_of(out)
    flat = opened(model, weights)
    render = transfer(flat, pictures[0], list(pictures[1:]), regions)
    if out.suffix.lower() == ".png":
        render.save(out)  # the file also holds the provenance
    else:
        save(render.images[0], out)
    for name, loss in render.provenance.options["losses"].items():
        click.echo(f"  {name}: {loss['start']:.4f} at the content, {loss['end']:.4f} now")
    click.echo(f"wrote {out}")


def _batch(batch: Batch, out: Path) -> None:
    from netlens.visualization.style import SHEET, Outcome, contact_sheet
    from netlens.zoo import RANDOM, check_network, open_network

    outcomes: list[Outcome] = []
    for model_and_weights in batch.networks:
        check_network(*model_and_weights)
    work = batch.run(out, open_network)
    for name, weights_ in batch.networks:
        if weights_ == RANDOM:
            click.echo(f"note: {name} has random weights (by the seed of its settings).", err=True)
    for outcome in work:
        outcomes.append(outcome)
        text = f": {outcome.why}" if outcome.why else ""
        click.echo(f"{outcome.what} {outcome.result}{text}")
    click.echo(f"wrote {contact_sheet(outcomes, out / SHEET)}")
    failed = sum(outcome.what == "failed" for outcome in outcomes)
    if failed:
        raise Failure(f"{failed} of {len(outcomes)} pictures failed; repeat the command to try them again.")


def _regions(styles: tuple[str, ...], content_masks: tuple[str, ...], style_masks: tuple[str, ...]) -> Any:
    if not content_masks and not style_masks:
        return None
    for name, masks in (("--content-mask", content_masks), ("--style-mask", style_masks)):
        if masks and len(masks) != len(styles):
            raise NetLensError(f"{len(styles)} style(s) need {len(styles)} of {name}, not {len(masks)}.")
    blank = (None,) * len(styles)
    return list(zip(content_masks or blank, style_masks or blank, strict=True))
