"""`python -m benchmarks.studies`: the pictures and figures of docs/studies.md.

Scenes of the little world, the bundled network, and small networks with a planted answer. Times are processor time on
one thread.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image

from benchmarks import little, watermark
from benchmarks.tables import write_between
from netlens import open_network
from netlens.images import save
from netlens.show import Picture
from netlens.studies import Attributions, compare, dataset_atlas, landscape, reliance
from netlens.survey import Survey
from netlens.world.folder import write_world

PAGE, IMAGES = Path("docs/studies.md"), Path("images/studies")
LAYER = "trunk_output.block2"
WIDTH = 1000

T = TypeVar("T")


def timed(rows: list[str], what: str, n: int, work: Callable[[], T]) -> T:
    """Do some work, and add a row of the table of times."""
    start = time.process_time()
    result = work()
    rows.append(f"| {what} | {n} | {time.process_time() - start:.1f} |")
    return result


def write(picture: Picture, name: str) -> None:
    """The picture at the width of a page."""
    image = Image.fromarray(picture.rgba()[..., :3])
    image.thumbnail((WIDTH, 10 * WIDTH), Image.Resampling.LANCZOS)
    save(image, IMAGES / name)


def pruned(flat: Any, least: float) -> Any:
    """A copy without weights of a magnitude below `least`."""
    other = copy.deepcopy(flat)
    with torch.no_grad():
        for weight in other.parameters():
            weight[weight.abs() < least] = 0
    return other.knowing(name="pruned")


def bundled(folder: Path, n: int, steps: int) -> str:
    """The studies of the bundled network on n scenes."""
    flat, images = open_network(), folder / "images"
    rows = ["| study | pictures | seconds |", "|---|--:|--:|"]
    question = Attributions(LAYER, masks=folder / "masks")
    survey = timed(rows, "`Attributions`", n, lambda: Survey(flat, images, [question], progress=False).run())
    write(survey.answer(question).show(labels=[0, 4, 9], names=survey.classes), "attributions.jpg")
    print("share on masks", survey.answer(question).true.share)
    comparison = timed(rows, "`compare`", n, lambda: compare(flat, pruned(flat, 0.05), images, progress=False))
    write(comparison.show(), "comparison.jpg")
    print(
        "pruned",
        comparison.accuracy,
        comparison.agreement,
        [(pair.layer, pair.change) for pair in comparison.changed[:3]],
    )
    line = timed(rows, "`landscape`, a line of 25 points", n, lambda: landscape(flat, images, progress=False))
    write(line.show(), "line.jpg")
    options: dict[str, Any] = {"cells": 10, "steps": steps, "progress": False}
    atlas = timed(rows, f"`dataset_atlas`, {steps} steps", n, lambda: dataset_atlas(flat, images, LAYER, **options))
    print("cells", len(atlas.sheets[0].cells))
    write(atlas.show(), "atlas.jpg")
    return "\n".join(rows)


def planted(seeds: int) -> str:
    """The answers that were planted: which comes first, for each seed."""
    first, scores, marked = 0, [], 0
    for seed in range(seeds):
        before, after, data, block = little.retrained(seed)
        changed = compare(before, after, data, progress=False).changed
        first += changed[0].layer.startswith(block)
        flat = watermark.learned(seed, lambda label: label == 0)
        images, labels, corners = watermark.scenes(seed + 100, 150, lambda label: label == 0)
        study = reliance(flat, list(zip(images, labels.tolist(), strict=True)), 0, "block3", progress=False)
        share = watermark.share_on(study.clusters[0], corners, 6)
        marked += share >= 0.9
        scores.append(study.clusters[0].score)
        if seed == 2:
            write(study.show(), "reliance.jpg")
    return "\n".join(
        [
            "| planted | comes first |",
            "|---|--:|",
            f"| a block that was trained anew, the others tuned | {first} of {seeds} |",
            f"| a watermark, in the first cluster, whose score is {min(scores):.2f} to {max(scores):.2f} "
            f"| {marked} of {seeds} |",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    IMAGES.mkdir(parents=True, exist_ok=True)
    write_between(PAGE, "planted", planted(arguments.seeds))
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_world(Path(temporary) / "world", arguments.images)
        write_between(PAGE, "studies", bundled(folder, arguments.images, arguments.steps))


if __name__ == "__main__":
    main()
