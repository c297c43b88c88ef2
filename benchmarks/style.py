"""Style transfer, judged by another network than the one of the optimization.

    python -m benchmarks.style CONTENT STYLE... [--model mobilenet_v2 --weights FILE] [--judge vgg11] [--size 192]

For each style, it prints the style and content losses of the finished 8-bit picture, by the network itself and by the
judge. They are normalized as in `StyleTransfer`. The content loss is computed in gray with equal mean and contrast,
because the colors are those of the style. The variants are the default, both optimizers, all parameterizations and
statistics, and other scales. A judge with random weights (from a seed) is independent of the network.
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
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--judge", default="vgg11")
    parser.add_argument("--judge-weights", default="random")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--variants", help="some of them, by name, with commas between")
    options = parser.parse_args()
    flat, judge = (
        seeded(open_network, name, weights, 0)
        for name, weights in ((options.model, options.weights), (options.judge, options.judge_weights))
    )
    names = options.variants.split(",") if options.variants else list(VARIANTS)
    print(
        f"{flat.name}, judged by {judge.name}; {Path(options.content).name}, {options.size} px, {options.steps} steps\n"
    )
    print("| variant | style | style loss | content loss | its style loss | its content loss | s |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        rows = [row(flat, judge, name, options.content, style, options.size, options.steps) for style in options.styles]
        for style, numbers in zip(options.styles, rows, strict=True):
            line(name, Path(style).stem, numbers)
        if len(rows) > 1:
            line(name, "**mean**", [sum(column) / len(rows) for column in zip(*rows, strict=True)])


def line(variant: str, style: str, numbers: list[float]) -> None:
    *losses, seconds = numbers
    print(f"| {variant} | {style} | {' | '.join(f'{loss:.4f}' for loss in losses)} | {seconds:.1f} |", flush=True)


def row(
    flat: FlatModel, judge: FlatModel, variant: str, content: str, style: str, size: int, steps: int
) -> list[float]:
    """Both losses by the network itself, both by the judge, and the seconds of the transfer."""
    transfer = StyleTransfer(size=size, steps=steps, **VARIANTS[variant])
    begin = time.perf_counter()
    images = transfer(flat, content, style, progress=False).images
    seconds = time.perf_counter() - begin
    return [*losses(flat, images, content, style, size), *losses(judge, images, content, style, size), seconds]


def losses(flat: FlatModel, images: Tensor, content: str, style: str, size: int) -> list[float]:
    """The style (Gram) loss of a saved picture, and the content loss of its luminance."""
    picture = FromImage(load(to_pil(images[0]))).pictures
    in_color = Task.of(StyleTransfer(size=size, loss="squared"), flat, content, style, None).stage(1.0)
    in_gray = Task.of(StyleTransfer(size=size, color="luminance", loss="squared"), flat, content, style, None)
    matched = matched_moments(gray(picture), gray(in_gray.original.double())).clamp(0, 1)
    content_loss = in_gray.stage(1.0).value("content", colored(matched, in_gray.content.shape[1]))
    return [in_color.value("style", picture), content_loss]


if __name__ == "__main__":
    main()
