"""Options that several commands have, and the network that they open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from netlens.errors import NetLensError

if TYPE_CHECKING:
    from netlens.flat import FlatModel

model_option = click.option(
    "--model",
    metavar="NAME",
    default="shapes",
    show_default=True,
    help="A torchvision name, or a bundled one: shapes, shapes_vit.",
)
weights_option = click.option(
    "--weights", metavar="FILE|default", help="A .safetensors or .pth file, or torchvision's own weights (default)."
)


def opened(model: str, weights: str | None) -> FlatModel:
    """Open the network that `--model` and `--weights` name; a note says when its weights are random."""
    import torch

    from netlens.zoo import BUNDLED, open_network

    with torch.random.fork_rng(devices=[]):
        # the same random weights each time, so that --seed says all that is random
        torch.random.default_generator.manual_seed(0)
        flat = open_network(model, weights)
    if model not in BUNDLED and weights is None:
        click.echo(f"note: {model} has random weights (seed 0); pass --weights FILE or --weights default.", err=True)
    return flat


def whole_numbers(text: str, what: str, between: str = ",") -> list[int]:
    """Whole numbers, 0 or more, of at most 18 digits, separated by commas."""
    parts = [part.strip() for part in text.split(between)]
    if not all(part.isdecimal() and part.isascii() and len(part) <= 18 for part in parts):
        separated = "commas" if between == "," else f"an {between}"
        raise NetLensError(f"{what} are whole numbers separated by {separated}, not {text[:80]!r}.")
    return [int(part) for part in parts]


def names(text: str, what: str) -> list[str]:
    """Names separated by commas."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise NetLensError(f"{what} names nothing.")
    return found
