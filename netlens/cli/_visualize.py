"""`netlens visualize`: pictures that excite channels, neurons, classes and layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from netlens.cli._generated import Generated, flags_of, read_options
from netlens.cli._group import main, reported
from netlens.cli._options import classes_option, names, opened, weights_option, whole_numbers
from netlens.cli._outputs import file_name, output_path
from netlens.errors import NetLensError

if TYPE_CHECKING:
    from netlens.results import Render
    from netlens.visualization import NetDreamer

FRAMES = 32  # the largest number of frames of a film, without the first


def _flags() -> list[click.Option]:
    from netlens.visualization import NetDreamer

    return flags_of(NetDreamer, leave_out=["flat", "transforms", "progress", "options"])


@main.command(cls=Generated, flags=_flags)
@click.argument("model")
@click.argument("target", metavar="LAYER[:CHANNEL,...]|class:NAME,...")
@weights_option
@classes_option
@click.option("--at", metavar="middle|Y,X", help="One neuron of the channel, at this position of its map.")
@click.option("--negative", is_flag=True, help="A picture that inhibits the channel.")
@click.option("--both", is_flag=True, help="The negative and the positive picture, side by side.")
@click.option("--diverse", type=click.IntRange(min=2), metavar="N", help="A row of N different pictures.")
@click.option("--images", metavar="FOLDER", help="Also show crops of these images that excite the channel most.")
@click.option("--whole", is_flag=True, help="Show whole images, not crops.")
@click.option("-k", type=click.IntRange(min=1), metavar="N", help="Number of these images.  [default: 5]")
@click.option("-o", "--output", metavar="FILE", help="A .png file, or a .gif for a film of the steps.")
def visualize(
    model: str,
    target: str,
    weights: str,
    classes: str | None,
    at: str | None,
    negative: bool,
    both: bool,
    diverse: int | None,
    images: str | None,
    whole: bool,
    k: int | None,
    output: str | None,
    **values: Any,
) -> None:
    """Draw pictures that excite a layer, a channel or a class.

    Several pictures get captions.

    \b
    netlens visualize shapes trunk_output.block2:0,1,2
    netlens visualize shapes trunk_output.block2:0 -o film.gif
    netlens visualize shapes "class:striped disc,striped square"
    """
    with reported():
        from netlens import visualization

        film = output is not None and output.lower().endswith(".gif")
        name = f"{file_name(model)}-{file_name(target)}.png"
        path = output_path(output, name, [] if images is None else [images], ".gif" if film else ".png")
        chosen = {"--at": at is not None, "--negative": negative, "--both": both, "--diverse": diverse is not None}
        chosen["--images"] = images is not None
        used = [name for name, is_used in chosen.items() if is_used]
        if len(used) > 1:
            raise NetLensError(f"{' and '.join(used)} ask for different pictures; give one of them.")
        if film and (both or images is not None):
            raise NetLensError(f"{used[0]} draws several pictures, which make no film; give a .png file.")
        if images is None and (whole or k is not None):
            raise NetLensError("-k and --whole are options of --images; give --images, too.")
        subject, _, channels = target.rpartition(":") if ":" in target else (target, "", "")
        if used and (subject == "class" or not channels):
            raise NetLensError(f"{used[0]} needs a channel, as in LAYER:0.")
        flat = opened(model, weights, classes)
        dreamer = visualization.NetDreamer(flat, **read_options(visualization.NetDreamer, values))
        if film:
            frames = visualization.Frames(-(-dreamer.steps // FRAMES))
            dreamer = replace(dreamer, options={"callbacks": [frames]})
        if subject == "class":
            render = dreamer.classes([*names(channels, "class:")])
        elif not channels:
            render = dreamer.layer(subject)
        else:
            indices = whole_numbers(channels, "channels")
            if (diverse or images) and len(indices) > 1:
                raise NetLensError(f"{used[0]} needs one channel, not {len(indices)}.")
            if images is not None:
                dreamer.examples(subject, indices[0], images, 5 if k is None else k, crops=not whole).save(path)
                click.echo(f"wrote {path}")
                return
            render = _of_channels(dreamer, subject, indices, at, negative, both, diverse)
        if film:
            render.save_gif(path)
        else:
            render.save(path, captions=render.captions if len(render) > 1 else None)
        click.echo(f"wrote {path}")


def _of_channels(
    dreamer: NetDreamer,
    layer: str,
    indices: list[int],
    at: str | None,
    negative: bool,
    both: bool,
    diverse: int | None,
) -> Render:
    if at is not None:
        position = [] if at == "middle" else whole_numbers(at, "positions")
        if len(position) not in (0, 2):
            raise NetLensError(f"--at must be middle, or a row and a column such as 3,4, not {at!r}.")
        return dreamer.neuron(layer, indices, *position)
    if negative:
        return dreamer.negative(layer, indices)
    if both:
        return dreamer.both(layer, indices)
    if diverse is not None:
        return dreamer.diverse(layer, indices[0], diverse)
    return dreamer.channel(layer, indices)
