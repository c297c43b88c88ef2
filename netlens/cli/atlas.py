"""`netlens atlas`: small pictures of what a layer sees at each position of an image."""

from __future__ import annotations

from pathlib import Path

import click

from netlens.cli.group import main, reported
from netlens.cli.options import model_option, opened, weights_option
from netlens.cli.outputs import output_path
from netlens.errors import NetLensError


@main.command()
@click.argument("image")
@click.option("--layer", required=True, metavar="KEY", help="A layer with maps; see `netlens layers`.")
@model_option
@weights_option
@click.option("--groups", type=int, metavar="N", help="N groups of positions in place of a grid (needs scikit-learn).")
@click.option("--cells", type=int, help="Positions along the longer side of the grid.  [default: 7]")
@click.option(
    "--cell-size", type=click.IntRange(min=16), default=96, show_default=True, help="Side of a picture, in pixels."
)
@click.option("--size", type=click.IntRange(min=16), help="Longer side of the image; by default that of the network.")
@click.option("--steps", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("-o", "--output", metavar="FILE", help="A .png file.")
def atlas(
    image: str,
    layer: str,
    model: str,
    weights: str | None,
    groups: int | None,
    cells: int | None,
    cell_size: int,
    size: int | None,
    steps: int,
    seed: int,
    output: str | None,
) -> None:
    """Draw what a layer sees at each position of an image; or, with --groups, in each group of positions.

    \b
    netlens atlas photo.jpg --layer trunk_output.block2
    netlens atlas photo.jpg --layer trunk_output.block2 --groups 4
    """
    with reported():
        from netlens import visualization
        from netlens.visualization.picture import expected_size

        path = output_path(output, f"{Path(image).stem}-atlas.png", [image])
        if cells is not None and groups is not None:
            raise NetLensError("--cells has no effect on --groups; give one of them.")
        flat = opened(model, weights)
        result = visualization.activation_atlas(
            flat,
            image,
            layer,
            groups=groups,
            cells=7 if cells is None else cells,
            cell_size=cell_size,
            size=expected_size(flat) if size is None else size,
            steps=steps,
            seed=seed,
        )
        result.save(path)
        click.echo(f"wrote {path}")
