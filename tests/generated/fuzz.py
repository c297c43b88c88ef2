"""Asks all laws of many generated modules: `python -m tests.generated.fuzz --modules 2000`.

Prints the seed of each module for which a law does not hold, and the smallest module for which it still does not.
"""

from __future__ import annotations

import sys
import time

import click
import torch
from tqdm import tqdm

from tests.generated.laws import LAWS, holds
from tests.generated.modules import generated, shrunk


@click.command()
@click.option("--modules", default=2000, show_default=True, help="How many modules.")
@click.option("--first", default=0, show_default=True, help="The seed of the first one.")
@click.option("--law", "laws", multiple=True, type=click.Choice(list(LAWS)), help="Only these laws; all by default.")
@click.option("--device", default="cpu", show_default=True, help="Where they run.")
@click.option("--most", default=20, show_default=True, help="Stop after so many failures.")
def fuzz(modules: int, first: int, laws: tuple[str, ...], device: str, most: int) -> None:
    """Ask the laws of generated modules, in one thread."""
    torch.set_num_threads(1)  # tensors are small
    names, failures, start = laws or tuple(LAWS), 0, time.perf_counter()
    for seed in tqdm(range(first, first + modules), disable=None):
        for name in names:
            wrong = holds(LAWS[name], generated(seed, device=device))
            if wrong is None:
                continue
            failures += 1
            small = shrunk(
                generated(seed, device=device), lambda candidate, name=name: holds(LAWS[name], candidate) is not None
            )
            click.echo(f"\nseed {seed}: {name}: {wrong}\nsmallest: {holds(LAWS[name], small)}\n{small.source}")
        if failures >= most:
            break
    took = time.perf_counter() - start
    click.echo(f"seeds {first} to {seed}: {len(names)} laws, {failures} failures, {took:.0f} s")
    sys.exit(failures > 0)


if __name__ == "__main__":
    fuzz()
