"""`netlens dream`: DeepDream on an image, or a film of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netlens.cli.group import main, reported
from netlens.cli.options import model_option, opened, weights_option, whole_numbers
from netlens.cli.outputs import output_path
from netlens.errors import NetLensError


@main.command()
@click.argument("image")
@click.option("--layer", required=True, metavar="KEY[:CHANNEL]", help="What to dream of; see `netlens layers`.")
@model_option
@weights_option
@click.option("--towards", metavar="IMAGE", help="Another image, whose parts the dream shall grow.")
@click.option("--octaves", type=int, help="Sizes to dream at, of 32 pixels or more.  [default: 4; 2 in a film]")
@click.option("--scale", type=float, default=1.4, show_default=True, help="How much each is larger than the last.")
@click.option("--steps", type=int, help="Steps at each size.  [default: 10; 4 in a film]")
@click.option("--step", type=float, default=1.5, show_default=True, help="Gray levels that a pixel moves by.")
@click.option("--jitter", type=int, default=32, show_default=True, help="Shift before each step, in pixels.")
@click.option("--tile", type=int, default=448, show_default=True, help="Side of what runs at once, in pixels.")
@click.option("--size", type=click.IntRange(min=16), help="Longer side in pixels, if not the image's own.")
@click.option("--zoom", "frames", type=click.IntRange(min=1), metavar="N", help="A film of N frames, each nearer.")
@click.option("--factor", type=float, help="How much nearer each frame is.  [default: 1.04]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("-o", "--output", metavar="FILE", help="A .png file, or a .gif for a film.")
def dream(
    image: str,
    layer: str,
    model: str,
    weights: str | None,
    towards: str | None,
    octaves: int | None,
    scale: float,
    steps: int | None,
    step: float,
    jitter: int,
    tile: int,
    size: int | None,
    frames: int | None,
    factor: float | None,
    seed: int,
    output: str | None,
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
        if factor is not None and frames is None:
            raise NetLensError("--factor is about the frames of a film; give --zoom, too.")
        key, _, channel = layer.partition(":")
        if channel and towards is not None:
            raise NetLensError("--towards is about all channels of a layer; give --layer without one.")
        flat = opened(model, weights)
        indices = whole_numbers(channel, "channels") if channel else []
        if len(indices) > 1:
            raise NetLensError(f"a dream is about one channel, or all of a layer, not about {len(indices)}.")
        goal = objectives.channel(flat.key(key), indices[0]) if indices else key
        options: dict[str, Any] = {"scale": scale, "step": step, "jitter": jitter, "tile": tile, "seed": seed}
        options |= {} if octaves is None else {"octaves": octaves}
        options |= {} if steps is None else {"iterations": steps}
        if frames is None:
            visualization.dream(flat, image, goal, towards=towards, size=size, **options).save(path)
        else:
            options |= {} if factor is None else {"factor": factor}
            film = visualization.zoom(flat, image, goal, n_frames=frames, towards=towards, size=size, **options)
            film.save_gif(path, seconds=frames / 12)
        click.echo(f"wrote {path}")
