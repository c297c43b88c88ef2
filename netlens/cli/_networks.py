"""`netlens layers` and `netlens methods`: lists of layers, of methods, and of the options of a method."""

from __future__ import annotations

from collections.abc import Sequence

import click

from netlens.cli._group import main, reported
from netlens.cli._options import MODELS
from netlens.options import Row

_LAYERS = f"""List the layers of a network.

The columns are key, type, shape, parameters and receptive field.

MODEL: {MODELS}
"""


@main.command(help=_LAYERS)
@click.argument("model", default="shapes")
@click.option("--weights", metavar="FILE|pretrained", help="By default random weights, so that none are downloaded.")
@click.option("--size", type=int, metavar="N", help="Side of the input in pixels; by default that of preprocessing.")
def layers(model: str, weights: str | None, size: int | None) -> None:
    with reported():
        from netlens.zoo import architecture, open_network

        flat = architecture(model) if weights is None else open_network(model, weights)
        shape = () if size is None else ((1, len(flat.adapter.preprocessing.mean), size, size),)
        click.echo(str(flat.summary(*shape)))


@main.command()
@click.argument("name", required=False)
def methods(name: str | None) -> None:
    """List the methods, or the options of the method NAME.

    \b
    netlens methods
    netlens methods integrated_gradients
    netlens explain photo.jpg --method integrated_gradients:n_steps=100,baselines=blur
    """
    with reported():
        from netlens.attribution import METHODS, method_named
        from netlens.options import table

        if name is None:
            width = max(map(len, METHODS))
            for method_name, method in METHODS.items():
                click.echo(f"{method_name.ljust(width)}  {_first_line(method.__doc__)}")
            return
        method = method_named(name)
        click.echo(_first_line(method.__doc__))
        rows = table(method)
        click.echo("\n" + (columns(rows) if rows else f"{name} has no options."))


def columns(rows: Sequence[Row]) -> str:
    """The options of a class as columns of text: name, type, default, bounds, help."""
    titles = Row(*(field.upper() for field in Row._fields))
    widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(len(titles) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row.help])
        for row in [titles, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]
