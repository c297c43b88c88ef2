"""`netlens atlas`: small pictures of what a layer sees at each position of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netlens.cli._generated import Generated, flags_of, read_options
from netlens.cli._group import main, reported
from netlens.cli._options import model_option, opened, weights_option
from netlens.cli._outputs import output_path
from netlens.errors import NetLensError


def _flags() -> list[click.Option]:
    from netlens.visualization import Charting

    return flags_of(Charting, defaults={"size": "what the network expects"})


@main.command(cls=Generated, flags=_flags)
@click.argument("image")
@click.option("--layer", required=True, metavar="KEY", help="A layer with maps; see `netlens layers`.")
@model_option
@weights_option
@click.option("-o", "--output", metavar="FILE", help="A .png file.")
def atlas(image: str, layer: str, model: str, weights: str, output: str | None, **values: Any) -> None:
    """Draw what a layer sees at each position of an image.

    With --groups, the atlas shows groups of positions, and what the layer sees in each group.

    \b
    netlens atlas photo.jpg --layer trunk_output.block2
    netlens atlas photo.jpg --layer trunk_output.block2 --groups 4
    """
    with reported():
        from netlens import visualization
        from netlens.visualization.picture import expected_size

        path = output_path(output, f"{Path(image).stem}-atlas.png", [image])
        options = read_options(visualization.Charting, values)
        if "cells" in options and "groups" in options:
            raise NetLensError("--groups are of all positions, so --cells would change nothing; give one of them.")
        visualization.Charting(**options)  # a wrong option raises here, before the network is opened
        flat = opened(model, weights)
        size = options.pop("size", expected_size(flat))
        visualization.activation_atlas(flat, image, layer, size=size, **options).save(path)
        click.echo(f"wrote {path}")
