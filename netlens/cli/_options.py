"""Options that several commands share, and the network that they open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from netlens.errors import NetLensError

if TYPE_CHECKING:
    from netlens.flat import FlatModel

F = TypeVar("F", bound=Callable[..., Any])

MODELS = (
    "A bundled network (shapes, shapes_vit), a name of torchvision, timm/NAME, hf/NAME, the folder of a network of "
    "Hugging Face, or FILE.py:FUNCTION, whose code is run."
)

model_option = click.option("--model", metavar="NAME", default="shapes", show_default=True, help=MODELS)
weights_option = click.option(
    "--weights",
    metavar="FILE|pretrained|random",
    default="pretrained",
    show_default=True,
    help="A .safetensors or .pth file; the published weights, which are downloaded if they are not cached; or random "
    "ones.",
)
classes_option = click.option("--classes", metavar="FILE", help="The names of the classes, one per line.")


def methods_option(default: str) -> Callable[[F], F]:
    """The option `--method`, with the methods by default, separated by commas."""
    return click.option(
        "--method",
        "methods",
        default=[default],
        multiple=True,
        metavar="A,B:OPTION=VALUE,...|all",
        help="The methods; the option may be repeated. Options of a method follow a colon, and slashes separate the "
        "items of a list. `netlens methods NAME` lists the options.",
    )


def methods_named(texts: Sequence[str]) -> list[str]:
    """The texts of single methods, each a name with or without options. An unknown name raises."""
    from netlens.attribution import METHODS, method_named
    from netlens.options import split

    pairs = [pair for text in texts for pair in ([(name, "") for name in METHODS] if text == "all" else split(text))]
    for name, _ in pairs:
        method_named(name)
    if not pairs:
        raise NetLensError("--method names no method; `netlens methods` lists them.")
    return list(dict.fromkeys(f"{name}:{options}" if options else name for name, options in pairs))


def opened(model: str, weights: str, classes: str | None = None) -> FlatModel:
    """Open the network that `--model` and `--weights` name. If its weights are random, print a note."""
    import torch

    from netlens.zoo import RANDOM, open_network

    with torch.random.fork_rng(devices=[]):
        # random weights are the same in each run; only --seed changes random numbers
        torch.random.default_generator.manual_seed(0)
        flat = open_network(model, weights, classes)
    if weights == RANDOM:
        click.echo(f"note: {model} has random weights (seed 0); what it sees means nothing.", err=True)
    return flat


def whole_numbers(text: str, name: str, separator: str = ",") -> list[int]:
    """Whole numbers of at least 0, with at most 18 digits, separated by commas. `name` is for errors."""
    items = [item.strip() for item in text.split(separator)]
    if not all(item.isdecimal() and item.isascii() and len(item) <= 18 for item in items):
        separated = "commas" if separator == "," else f"an {separator}"
        raise NetLensError(f"{name} must be whole numbers separated by {separated}, not {text[:80]!r}.")
    return [int(item) for item in items]


def names(text: str, name: str) -> list[str]:
    """Names separated by commas."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise NetLensError(f"{name} names nothing.")
    return items
