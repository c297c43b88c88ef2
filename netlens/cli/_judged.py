"""What the commands that judge explanations share: pictures, masks, metrics, and how they go on after Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from netlens.cli._group import stoppable
from netlens.errors import ImageError, NetLensError

if TYPE_CHECKING:
    from torch import Tensor

    from netlens.evaluation.metrics import Metric
    from netlens.lens import NetLens

F = TypeVar("F", bound=Callable[..., Any])


def truth_options(command: F) -> F:
    """The options `--target` and `--masks`: what is explained, and where the object is that truly causes it."""
    masks = click.option(
        "--masks",
        metavar="FOLDER",
        help="A folder with a mask for each picture, of the same path, "
        "white on the object that truly causes the class.",
    )
    target = click.option("--target", metavar="NAME|INDEX", help="The class to explain; by default the predicted one.")
    return target(masks(command))


def parts_option(command: F) -> F:
    """The option `--parts`."""
    return click.option(
        "--parts",
        type=Path,
        metavar="DIR",
        help="The folder in which scores stay, so that the command can go on; by default that of OUT, as in OUT.parts.",
    )(command)


def parts_of(parts: Path | None, output: str) -> Path:
    """The folder of the scores, which has the name of the output unless it is given."""
    return Path(output).with_suffix(".parts") if parts is None else parts


def resumable(parts: Path) -> AbstractContextManager[None]:
    """Turn Ctrl-C into a line that says how to go on."""
    return stoppable(f"the scores so far are in {parts}, and the same command goes on.")


def metrics_named(texts: Sequence[str]) -> list[Metric] | None:
    """The metrics that texts such as `deletion:steps=16` name; None for the usual ones."""
    from netlens.evaluation import METRICS, metric_named
    from netlens.options import parse, split

    pairs = [pair for text in texts for pair in ([(name, "") for name in METRICS] if text == "all" else split(text))]
    if texts and not pairs:
        raise NetLensError("--metric names no metric; docs/evaluation.md lists them.")
    return [parse(metric_named(name), options) for name, options in pairs] or None


def pictures_of(images: Sequence[str]) -> list[tuple[Path, str]]:
    """The folder of each picture, and its path within; that of a single file is its name."""
    from netlens.images import in_folder

    pictures: list[tuple[Path, str]] = []
    for image in map(Path, images):
        if image.is_dir():
            pictures += [(image, path.relative_to(image).as_posix()) for path in in_folder(image)]
        else:
            pictures.append((image.parent, image.name))
    return pictures


def masks_for(lens: NetLens, folder: str, names: Sequence[str]) -> Tensor:
    """(N, H, W), bool: the masks, preprocessed as the pictures are."""
    from netlens.masks import masks_of

    size = lens.x.shape[-2], lens.x.shape[-1]
    masks, has_mask = masks_of(folder, names, lens.flat.adapter.preprocessing, size)
    missing = [name for name, has in zip(names, has_mask.tolist(), strict=True) if not has]
    if missing:
        raise ImageError(f"{len(missing)} pictures have no mask in {folder}, such as {missing[0]}; give it that name.")
    return masks
