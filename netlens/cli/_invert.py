"""`netlens invert`: reconstructions of an image from layers, as a strip of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netlens.cli._generated import Generated, flags_of, read_options
from netlens.cli._group import main, reported
from netlens.cli._options import model_option, names, opened, weights_option
from netlens.cli._outputs import output_path


def _flags() -> list[click.Option]:
    from netlens.options import options_of
    from netlens.visualization import Caricaturing, Inverting

    inverting = [o.name for o in options_of(Inverting)]
    defaults = {"size": "what the network expects"}
    return [*flags_of(Inverting, defaults=defaults), *flags_of(Caricaturing, leave_out=inverting)]


@main.command(cls=Generated, flags=_flags)
@click.argument("image")
@click.option("--layer", "layers", required=True, metavar="A,B,...", help="The layers, from the first to the last.")
@model_option
@weights_option
@click.option("--caricature", is_flag=True, help="Exaggerate what the layers see, in place of a reconstruction.")
@click.option("-o", "--output", metavar="FILE", help="A .png file.")
def invert(
    image: str,
    layers: str,
    model: str,
    weights: str,
    caricature: bool,
    output: str | None,
    **values: Any,
) -> None:
    """Reconstruct an image from the activations of layers.

    The strip shows the image, then one picture per layer.

    \b
    netlens invert photo.jpg --layer stem,trunk_output.block1,trunk_output.block2
    """
    with reported():
        from netlens import visualization
        from netlens.errors import NetLensError
        from netlens.options import options_of
        from netlens.results.row import photograph, row
        from netlens.visualization.picture import expected_size, picture_for

        path = output_path(output, f"{Path(image).stem}-{'caricature' if caricature else 'inverted'}.png", [image])
        keys = names(layers, "--layer")
        kind = visualization.Caricaturing if caricature else visualization.Inverting
        options = read_options(visualization.Inverting, values) | read_options(visualization.Caricaturing, values)
        foreign = [name for name in options if name not in {o.name for o in options_of(kind)}]
        if foreign:
            command = "an inversion" if caricature else "a caricature"
            raise NetLensError(f"--{foreign[0].replace('_', '-')} is an option of {command}; leave it out.")
        kind(**options)  # a wrong option raises here, before the network is opened
        flat = opened(model, weights)
        side = options.pop("size", expected_size(flat))
        base = picture_for(flat, image, side)
        make = visualization.caricature if caricature else visualization.invert
        render = make(flat, base[0], keys, **options)
        strip = row(photograph(base[0], "image", render), render)
        strip.save(path, captions=strip.captions, columns=min(len(strip), 8))
        click.echo(f"wrote {path}")
