"""`netlens dream`: DeepDream on an image, or a film of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netlens.cli._generated import Generated, flags_of, read_options
from netlens.cli._group import main, reported
from netlens.cli._options import model_option, opened, weights_option, whole_numbers
from netlens.cli._outputs import output_path
from netlens.errors import NetLensError


def _flags() -> list[click.Option]:
    from netlens.options import options_of, spelled
    from netlens.visualization import Dreaming, Zooming

    film = {o.name: o for o in options_of(Zooming)}
    usual = {
        o.name: f"{spelled(o.default)}, {spelled(film[o.name].default)} in a film"
        for o in options_of(Dreaming)
        if o.default != film[o.name].default
    }
    of_dream = [o.name for o in options_of(Dreaming)]
    return [*flags_of(Dreaming, defaults=usual), *flags_of(Zooming, leave_out=["n_frames", *of_dream])]


@main.command(cls=Generated, flags=_flags)
@click.argument("image")
@click.option("--layer", required=True, metavar="KEY[:CHANNEL]", help="A layer or a channel; see `netlens layers`.")
@model_option
@weights_option
@click.option("--towards", metavar="IMAGE", help="Another image; the dream takes its patterns.")
@click.option("--zoom", "frames", type=click.IntRange(min=1), metavar="N", help="A film of N frames that zooms in.")
@click.option("-o", "--output", metavar="FILE", help="A .png file, or a .gif for a film.")
def dream(
    image: str,
    layer: str,
    model: str,
    weights: str,
    towards: str | None,
    frames: int | None,
    output: str | None,
    **values: Any,
) -> None:
    """Change an image so that it shows more of the patterns that a layer sees in it.

    \b
    netlens dream photo.jpg --layer trunk_output.block2
    netlens dream photo.jpg --layer trunk_output.block2 --zoom 48 -o film.gif
    """
    with reported():
        from netlens import objectives, visualization

        suffix = ".png" if frames is None else ".gif"
        inputs = [image] if towards is None else [image, towards]
        path = output_path(output, f"{Path(image).stem}-dream{suffix}", inputs, suffix)
        options = read_options(visualization.Zooming, values)
        of_film = [name for name in ("factor", "degrees") if name in options]
        if of_film and frames is None:
            raise NetLensError(f"--{of_film[0]} is an option of films; give --zoom, too.")
        # a wrong option raises here, before the network is opened
        visualization.Zooming(**options)
        key, _, channel = layer.partition(":")
        if channel and towards is not None:
            raise NetLensError("--towards needs all channels of a layer; give --layer without a channel.")
        flat = opened(model, weights)
        indices = whole_numbers(channel, "channels") if channel else []
        if len(indices) > 1:
            raise NetLensError(f"a dream needs one channel, or a whole layer, not {len(indices)} channels.")
        goal = objectives.channel(flat.key(key), indices[0]) if indices else key
        if frames is None:
            visualization.dream(flat, image, goal, towards=towards, **options).save(path)
        else:
            film = visualization.zoom(flat, image, goal, n_frames=frames, towards=towards, **options)
            film.save_gif(path, seconds=frames / 12)
        click.echo(f"wrote {path}")
