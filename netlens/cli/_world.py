"""`netlens world`: a data set with known answers."""

from __future__ import annotations

import click

from netlens.cli._group import main, reported


@main.command()
@click.option("-o", "--output", required=True, metavar="FOLDER", help="The folder to write; new, or empty.")
@click.option("-n", "n", type=click.IntRange(min=1), default=2000, show_default=True, help="The number of scenes.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed: other scenes.")
@click.option("--size", type=click.IntRange(16, 4096), default=128, show_default=True, help="The side in pixels.")
def world(output: str, n: int, seed: int, size: int) -> None:
    """Write a data set with known answers: scenes by class, and masks of what makes the class.

    \b
    netlens world -o world -n 2000
    """
    with reported():
        from netlens.world.folder import write_world

        path = write_world(output, n, seed, size)
        click.echo(f"{path} holds {n} scenes by class in images/, and their masks in masks/")
