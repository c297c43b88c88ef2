"""`netlens layers` and `netlens methods`: what there is to choose from."""

from __future__ import annotations

import click

from netlens.cli.group import main, reported
from netlens.cli.options import weights_option


@main.command()
@click.argument("model", default="shapes")
@weights_option
@click.option("--size", type=int, help="Side of the input in pixels, if not the usual one.")
def layers(model: str, weights: str | None, size: int | None) -> None:
    """List the layers of a network: key, type, shape, parameters, receptive field."""
    with reported():
        from netlens.zoo import open_network

        flat = open_network(model, weights)
        shape = () if size is None else ((1, len(flat.adapter.preprocessing.mean), size, size),)
        click.echo(str(flat.summary(*shape)))


@main.command()
def methods() -> None:
    """List the methods with one line each."""
    from netlens.attribution import METHODS

    width = max(map(len, METHODS))
    for name, method in METHODS.items():
        click.echo(f"{name.ljust(width)}  {_first_line(method.__doc__)}")


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]
