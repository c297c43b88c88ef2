"""Style transfer, judged by another network than the one that it was optimized on.

    python -m benchmarks.style CONTENT STYLE... [--model mobilenet_v2 --weights FILE] [--judge vgg11] [--size 192]

For every style: the style and content losses of the finished 8-bit picture, on the network itself and on the judge, in
units of `StyleTransfer`: the style loss is 1 at the content picture, the content loss 1 at a plain picture of the
content's mean color. The content is looked at in gray of the same mean and contrast, for the colors are those of the
style. Besides the default it runs both optimizers, all parameterizations and statistics, other scales.
A judge with random weights (seeded) knows nothing of what the optimized network likes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from netlens.flat import FlatModel
from netlens.images import load, to_pil
from netlens.visualization import FromImage
from netlens.visualization.params import colored
from netlens.visualization.params.color import gray
from netlens.visualization.style import StyleTransfer
from netlens.visualization.style.color import matched_moments
from netlens.visualization.style.network import seeded
from netlens.visualization.style.task import Task
from netlens.zoo import open_network

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "content 0.25": {"content_weight": 0.25},
    "L-BFGS": {"optimizer": "lbfgs", "transforms": "none"},
    "L-BFGS, pyramid": {"optimizer": "lbfgs", "transforms": "none", "param": "pyramid"},
    "L-BFGS, jitter": {"optimizer": "lbfgs"},
    "pixel": {"param": "pixel"},
    "pyramid": {"param": "pyramid"},
    "one scale": {"scales": 1},
    "from noise": {"start": "noise"},
    "standard transforms": {"transforms": "standard"},
    "mean_std": {"statistic": "mean_std"},
    "sliced_wasserstein": {"statistic": "sliced_wasserstein"},
    "histogram": {"statistic": "histogram"},
    "squared": {"loss": "squared", "content_weight": 0.3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("content")
    parser.add_argument("styles", nargs="+")
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--weights")
    parser.add_argument("--judge", default="vgg11")
    parser.add_argument("--judge-weights")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--variants", help="some of them, by name, with commas between")
    given = parser.parse_args()
    flat, judge = (
        seeded(open_network, name, weights, 0)
        for name, weights in ((given.model, given.weights), (given.judge, given.judge_weights))
    )
    names = given.variants.split(",") if given.variants else list(VARIANTS)
    print(f"{flat.name}, judged by {judge.name}; {Path(given.content).name}, {given.size} px, {given.steps} steps\n")
    print("| variant | style | style loss | content loss | its style loss | its content loss | s |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        rows = [row(flat, judge, name, given.content, style, given.size, given.steps) for style in given.styles]
        for style, numbers in zip(given.styles, rows, strict=True):
            line(name, Path(style).stem, numbers)
        if len(rows) > 1:
            line(name, "**mean**", [sum(column) / len(rows) for column in zip(*rows, strict=True)])


def line(variant: str, style: str, numbers: list[float]) -> None:
    *losses, seconds = numbers
    print(f"| {variant} | {style} | {' | '.join(f'{loss:.4f}' for loss in losses)} | {seconds:.1f} |", flush=True)


def row(
    flat: FlatModel, judge: FlatModel, variant: str, content: str, style: str, size: int, steps: int
) -> list[float]:
    """Both losses by the network itself and by the judge, and the seconds that it took."""
    transfer = StyleTransfer(size=size, steps=steps, **VARIANTS[variant])
    begin = time.perf_counter()
    images = transfer(flat, content, style, progress=False).images
    seconds = time.perf_counter() - begin
    return [*losses(flat, images, content, style, size), *losses(judge, images, content, style, size), seconds]


def losses(flat: FlatModel, images: Tensor, content: str, style: str, size: int) -> list[float]:
    """The style (Gram) loss of a finished picture, as it is saved, and the content loss of its luminance."""
    picture = FromImage(load(to_pil(images[0]))).pictures
    whole = Task.of(StyleTransfer(size=size, loss="squared"), flat, content, style, None).at(1.0)
    light = Task.of(StyleTransfer(size=size, color="luminance", loss="squared"), flat, content, style, None)
    alike = matched_moments(gray(picture), gray(light.original)).clamp(0, 1)
    kept = light.at(1.0).value("content", colored(alike, light.content.shape[1]))
    return [whole.value("style", picture), kept]


if __name__ == "__main__":
    main()
