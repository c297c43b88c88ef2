"""Options that several commands have, and the network that they open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from netlens.flat import FlatModel

model_option = click.option(
    "--model", default="shapes", show_default=True, help="A torchvision name, or a bundled one: shapes, shapes_vit."
)
weights_option = click.option(
    "--weights", metavar="FILE|default", help="A .safetensors or .pth file, or torchvision's own weights (default)."
)


def opened(model: str, weights: str | None) -> FlatModel:
    """The network that `--model` and `--weights` name; it is told when it knows nothing."""
    from netlens.zoo import BUNDLED, open_network

    flat = open_network(model, weights)
    if model not in BUNDLED and weights is None:
        click.echo(f"note: {model} has random weights; pass --weights FILE or --weights default.", err=True)
    return flat
