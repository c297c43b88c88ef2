"""`netlens invert`: what each of some layers still knows of an image, as a strip of pictures."""

from __future__ import annotations

from pathlib import Path

import click

from netlens.cli.group import main, reported
from netlens.cli.options import model_option, names, opened, weights_option
from netlens.cli.outputs import output_path


@main.command()
@click.argument("image")
@click.option("--layer", "layers", required=True, metavar="A,B,...", help="The layers, shallow to deep.")
@model_option
@weights_option
@click.option("--caricature", is_flag=True, help="Exaggerate what the layers see instead.")
@click.option("--param", type=click.Choice(["fourier", "pixel"]), default="fourier", show_default=True)
@click.option("--alpha", type=float, help="Weight of the 6-norm.  [default: 0; 10 for pixels]")
@click.option("--variation", type=float, help="Weight of the total variation.  [default: 0.2; 13 for pixels]")
@click.option("--size", type=click.IntRange(min=16), help="Longer side; by default what the network expects.")
@click.option("--steps", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("-o", "--output", metavar="FILE", help="A .png file.")
def invert(
    image: str,
    layers: str,
    model: str,
    weights: str | None,
    caricature: bool,
    param: str,
    alpha: float | None,
    variation: float | None,
    size: int | None,
    steps: int,
    seed: int,
    output: str | None,
) -> None:
    """Reconstruct an image from the activations of layers: the image, then one picture per layer.

    \b
    netlens invert photo.jpg --layer stem,trunk_output.block1,trunk_output.block2
    """
    with reported():
        from netlens import visualization
        from netlens.errors import NetLensError
        from netlens.results.row import photograph, row
        from netlens.visualization.picture import expected_size, picture_for

        path = output_path(output, f"{Path(image).stem}-{'caricature' if caricature else 'inverted'}.png", [image])
        keys = names(layers, "--layer")
        if caricature and not (alpha is None and variation is None):
            raise NetLensError("a caricature has no penalties, so --alpha and --variation would change nothing.")
        flat = opened(model, weights)
        side = expected_size(flat) if size is None else size
        base = picture_for(flat, image, side)
        kind = visualization.Pixel if param == "pixel" else visualization.Fourier
        if caricature:
            made = visualization.caricature(flat, base[0], keys, param=kind, steps=steps, seed=seed)
        else:
            made = visualization.invert(
                flat, base[0], keys, param=kind, alpha=alpha, variation=variation, steps=steps, seed=seed
            )
        strip = row(photograph(base[0], "image", made), made)
        strip.save(path, captions=strip.captions, columns=min(len(strip), 8))
        click.echo(f"wrote {path}")
