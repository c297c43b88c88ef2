"""`netlens playground`: the page in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from netlens.cli._group import main, reported
from netlens.cli._options import classes_option, model_option, opened, weights_option
from netlens.extras import extra


@main.command()
@model_option
@weights_option
@classes_option
@click.option("--images", type=Path, metavar="FOLDER", help="Your pictures; by default scenes of the bundled world.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where to listen. Everybody who reaches another address can use the page; it has no password.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0 for any free port.")
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
def playground(
    model: str, weights: str, classes: str | None, images: Path | None, host: str, port: int, no_browser: bool
) -> None:
    """Open the playground, a page in the browser.

    \b
    netlens playground
    netlens playground --model mobilenet_v2 --weights default --images photos
    """
    with reported():
        with extra("playground", "the playground needs Gradio"):
            import gradio  # noqa: F401
        from netlens.playground import Studio, serve

        studio = Studio(opened(model, weights, classes), model, weights, classes, images)
        _ = studio.pictures  # a wrong folder is refused now
        serve(studio, host, port, not no_browser, lambda address: click.echo(f"the playground is at {address}"))
