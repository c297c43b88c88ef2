"""`netlens dream`: DeepDream on an image, or a film of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netlens.cli.generated import Generated, flags_of, given
from netlens.cli.group import main, reported
from netlens.cli.options import model_option, opened, weights_option, whole_numbers
from netlens.cli.outputs import output_path
from netlens.errors import NetLensError


def _flags() -> list[click.Option]:
    from netlens.options import options_of, spelled
    from netlens.visualization import Dreaming, Zooming

    film = {one.name: one for one in options_of(Zooming)}
    usual = {
        one.name: f"{spelled(one.default)}, {spelled(film[one.name].default)} in a film"
        for one in options_of(Dreaming)
        if one.default != film[one.name].default
    }
    of_dream = [one.name for one in options_of(Dreaming)]
    return [*flags_of(Dreaming, defaults=usual), *flags_of(Zooming, leave_out=["n_frames", *of_dream])]


@main.command(cls=Generated, flags=_flags)
@click.argument("image")
@click.option("--layer", required=True, metavar="KEY[:CHANNEL]", help="What to dream of; see `netlens layers`.")
@model_option
@weights_option
@click.option("--towards", metavar="IMAGE", help="Another image, whose parts the dream shall grow.")
@click.option("--zoom", "frames", type=click.IntRange(min=1), metavar="N", help="A film of N frames, each nearer.")
@click.option("-o", "--output", metavar="FILE", help="A .png file, or a .gif for a film.")
def dream(
    image: str,
    layer: str,
    model: str,
    weights: str | None,
    towards: str | None,
    frames: int | None,
    output: str | None,
    **values: Any,
) -> None:
    """Change an image into more of what a layer sees in it.

    \b
    netlens dream photo.jpg --layer trunk_output.block2
    netlens dream photo.jpg --layer trunk_output.block2 --zoom 48 -o film.gif
    """
    with reported():
        from netlens import objectives, visualization

        suffix = ".png" if frames is None else ".gif"
        inputs = [image] if towards is None else [image, towards]
        path = output_path(output, f"{Path(image).stem}-dream{suffix}", inputs, suffix)
        options = given(visualization.Zooming, values)
        of_film = [name for name in ("factor", "degrees") if name in options]
        if of_film and frames is None:
            raise NetLensError(f"--{of_film[0]} is about the frames of a film; give --zoom, too.")
        # what is wrong with an option is told before the network is opened
        visualization.Zooming(**options)
        key, _, channel = layer.partition(":")
        if channel and towards is not None:
            raise NetLensError("--towards is about all channels of a layer; give --layer without one.")
        flat = opened(model, weights)
        indices = whole_numbers(channel, "channels") if channel else []
        if len(indices) > 1:
            raise NetLensError(f"a dream is about one channel, or all of a layer, not about {len(indices)}.")
        goal = objectives.channel(flat.key(key), indices[0]) if indices else key
        if frames is None:
            visualization.dream(flat, image, goal, towards=towards, **options).save(path)
        else:
            film = visualization.zoom(flat, image, goal, n_frames=frames, towards=towards, **options)
            film.save_gif(path, seconds=frames / 12)
        click.echo(f"wrote {path}")
