"""Style transfer beside a textbook run of Gatys et al., at equal time, judged by networks that took no part.

    python -m benchmarks.gatys PHOTOS --model mobilenet_v2 --weights FILE [--size 192] [--seconds 60] [--sheet FILE]

Six contents and styles: the photos, pictures that scikit-image and scikit-learn bring along, a line drawing, and a
painting that is drawn here. The textbook run is Gatys et al. 2016, https://arxiv.org/abs/1508.06576: L-BFGS on pixels,
squared distances of Gram matrices (one for each scale of the network) and of one content layer, from the content, with
a weight of the style of 1, 10 or 100 times that at which both gradients are equally large (the one with the lowest
style loss of the first judge is taken). It optimizes the module itself, without netlens. netlens runs as many steps as
fit into the same time.

Time is that of the processor, because others may use the machine.

Both are judged as saved 8-bit pictures: the style loss (Gram) is 1 for the content and 0 for the style, and the content
loss of the luminance is 1 for its mean, as in `benchmarks.style`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from benchmarks.style import losses
from netlens.errors import NetLensWarning
from netlens.flat import FlatModel
from netlens.images import save
from netlens.visualization.params import pictures_of, resampled
from netlens.visualization.style import StyleTransfer
from netlens.visualization.style.network import seeded
from netlens.visualization.style.task import Task
from netlens.weights import build
from netlens.zoo import open_network

BALANCES = (1.0, 10.0, 100.0)
VARIANTS: dict[str, dict[str, Any]] = {
    "netlens": {},
    "netlens, L-BFGS": {"optimizer": "lbfgs", "transforms": "none"},
}
JUDGES = (("shapes", "pretrained"), ("vgg11", "random"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, help="a folder: egyptian_cat.jpg, macaw.jpg, samoyed.jpg, sunflower.jpg")
    parser.add_argument("--weights", required=True, help="of mobilenet_v2")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--seconds", type=float, default=60, help="for each run")
    parser.add_argument("--pairs", type=int, default=6, help="how many of the pairs")
    parser.add_argument("--content-weight", type=float, default=0.5)
    parser.add_argument("--sheet", type=Path, help="write a contact sheet")
    options = parser.parse_args()
    warnings.simplefilter("ignore", NetLensWarning)  # the shortest runs, which only tell the time, end early
    flat = open_network("mobilenet_v2", options.weights)
    module = build("mobilenet_v2", options.weights).eval()
    judges = [seeded(open_network, name, weights, 0) for name, weights in JUDGES]
    print("| content | style | by | s | " + " | ".join(f"style, {j.name} | content, {j.name}" for j in judges) + " |")
    print("|---" * (4 + 2 * len(judges)) + "|")
    rows: dict[str, list[list[float]]] = {name: [] for name in ("Gatys", *VARIANTS)}
    sheet = []
    with TemporaryDirectory() as folder:
        for content, style in pairs(options.photos, Path(folder))[: options.pairs]:
            pictures = compared(flat, module, judges, content, style, options, rows)
            sheet.append([pictures_of(content)[0], pictures_of(style)[0], *pictures])
    for name, numbers in rows.items():
        print(f"| mean | | {name} | {row([sum(column) / len(numbers) for column in zip(*numbers, strict=True)])} |")
    if options.sheet:
        write_sheet(sheet, options.sheet)


def compared(
    flat: FlatModel,
    module: nn.Module,
    judges: list[FlatModel],
    content: str,
    style: str,
    options: argparse.Namespace,
    rows: dict[str, list[list[float]]],
) -> list[Tensor]:
    """Print a row for each of the two, and return their pictures."""
    task = Task.of(StyleTransfer(size=options.size), flat, content, style, None)
    runs: dict[str, list[tuple[Tensor, float]]] = {name: [] for name in rows}
    for balance in BALANCES:
        runs["Gatys"].append(gatys(module, flat, task, balance, options.seconds))
    for name, settings in VARIANTS.items():
        runs[name].append(timed(flat, content, style, options, settings))
    pictures = []
    for name, candidates in runs.items():
        scored = []
        for picture, seconds in candidates:
            numbers = [loss for judge in judges for loss in losses(judge, picture, content, style, options.size)]
            scored.append(([seconds, *numbers], picture))
        best, picture = min(scored, key=lambda pair: pair[0][1])
        rows[name].append(best)
        pictures.append(picture[0])
        print(f"| {Path(content).stem} | {Path(style).stem} | {name} | {row(best)} |", flush=True)
    return pictures


def timed(
    flat: FlatModel, content: str, style: str, options: argparse.Namespace, settings: Mapping[str, Any]
) -> tuple[Tensor, float]:
    """The picture of netlens with as many steps as fit into the time, and the seconds that it took."""

    def run(steps: int) -> tuple[Tensor, float]:
        transfer = StyleTransfer(size=options.size, content_weight=options.content_weight, steps=steps, **settings)
        begin = time.process_time()
        images = transfer(flat, content, style, progress=False).images
        return images, time.process_time() - begin

    (_, few), (_, more) = run(20), run(60)
    return run(max(20, 20 + int(40 * (options.seconds - few) / (more - few))))


def gatys(module: nn.Module, flat: FlatModel, task: Task, balance: float, seconds: float) -> tuple[Tensor, float]:
    """The textbook run: the picture (1, 3, H, W), and the seconds that it took."""
    preprocessing = flat.adapter.preprocessing
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    modules = dict(module.named_modules())
    layers = list(dict.fromkeys([*task.style_layers, *task.content_layers]))
    activations: dict[str, Tensor] = {}
    handles = [
        modules[name].register_forward_hook(
            lambda module, inputs, output, name=name: activations.update({name: output})
        )
        for name in layers
    ]

    def features(picture: Tensor) -> Mapping[str, Tensor]:
        module.features((picture - mean) / std)  # type: ignore[operator]
        return dict(activations)

    def gram(maps: Tensor) -> Tensor:
        vectors = maps[0].flatten(1)
        return vectors @ vectors.T / vectors.numel()

    begin = time.process_time()
    content = task.stage(1.0).content.float()
    (style,) = (styled.float() for styled in task.sized(1.0))
    with torch.no_grad():
        wanted = {name: features(content)[name] for name in task.content_layers}
        grams = {name: gram(features(style)[name]) for name in task.style_layers}
    picture = content.clone(memory_format=torch.contiguous_format).requires_grad_()

    def both() -> tuple[Tensor, Tensor]:
        maps = features(picture)
        at_content = sum((maps[name] - target).square().mean() for name, target in wanted.items())
        at_style = sum((gram(maps[name]) - target).square().sum() for name, target in grams.items())
        return torch.as_tensor(at_content), torch.as_tensor(at_style)

    # at the content itself, its gradient is 0: both are compared a little beside it
    with torch.no_grad():
        picture += 0.05 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    slopes = [torch.autograd.grad(loss, picture)[0].norm() for loss in both()[:1]]
    slopes += [torch.autograd.grad(both()[1], picture)[0].norm()]
    weight = float(balance * slopes[0] / slopes[1])
    with torch.no_grad():
        picture.copy_(content)
    scale = 1 / float(weight * both()[1].detach())
    optimizer = torch.optim.LBFGS(
        [picture], max_iter=10, history_size=20, line_search_fn="strong_wolfe", tolerance_change=0, tolerance_grad=0
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        at_content, at_style = both()
        loss = scale * (at_content + weight * at_style)
        loss.backward()
        assert picture.grad is not None
        picture.grad = picture.grad.contiguous()
        return loss

    while time.process_time() - begin < seconds:
        optimizer.step(closure)
    for handle in handles:
        handle.remove()
    return picture.detach().clamp(0, 1), time.process_time() - begin


def row(numbers: list[float]) -> str:
    seconds, *values = numbers
    return " | ".join([f"{seconds:.0f}", *(f"{value:.3f}" for value in values)])


def pairs(photos: Path, folder: Path) -> list[tuple[str, str]]:
    """The six contents and styles, as files."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    drawn: dict[str, np.ndarray] = {
        "lines": lines(),
        "painting": painting(),
    }
    drawn |= {"china": load_sample_image("china.jpg"), "flower": load_sample_image("flower.jpg")}
    for name in ("coffee", "astronaut", "immunohistochemistry"):
        drawn[name] = getattr(data, name)()
    for name, array in drawn.items():
        Image.fromarray(np.asarray(array)).save(folder / f"{name}.png")
    photo = {path.stem: str(path) for path in photos.glob("*.jpg")}
    photo |= {name: str(folder / f"{name}.png") for name in drawn}
    names = [
        ("egyptian_cat", "macaw"),
        ("samoyed", "painting"),
        ("lines", "flower"),
        ("china", "sunflower"),
        ("astronaut", "immunohistochemistry"),
        ("coffee", "painting"),
    ]
    return [(photo[content], photo[style]) for content, style in names]


def lines() -> np.ndarray:
    """A drawing of black lines on white."""
    image = Image.new("RGB", (384, 384), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((60, 60, 324, 324), outline="black", width=6)
    draw.ellipse((130, 140, 170, 190), outline="black", width=6)
    draw.ellipse((214, 140, 254, 190), outline="black", width=6)
    draw.arc((120, 160, 264, 280), 20, 160, fill="black", width=6)
    return np.asarray(image)


def painting() -> np.ndarray:
    """Short strokes of a brush that follow a swirl, in blue, yellow and white."""
    random = np.random.default_rng(0)
    image = Image.new("RGB", (384, 384), (24, 44, 110))
    draw = ImageDraw.Draw(image)
    colors = [(20, 50, 140), (60, 110, 190), (130, 170, 210), (235, 200, 70), (245, 240, 215), (15, 25, 70)]
    for _ in range(5000):
        x, y = random.uniform(0, 384, 2)
        angle = np.arctan2(y - 160, x - 210) + np.pi / 2 + 0.3 * np.sin(x / 40)
        length = random.uniform(8, 20)
        distance = np.hypot(x - 210, y - 160)
        color = colors[int(distance / 38 + random.normal(0, 0.8)) % len(colors)]
        dx, dy = length * np.cos(angle), length * np.sin(angle)
        draw.line((x, y, x + dx, y + dy), fill=color, width=int(random.integers(2, 6)))
    return np.asarray(image)


def write_sheet(rows: list[list[Tensor]], file: Path, side: int = 160) -> None:
    """Each row: the content, the style, the textbook run, and netlens with each of its optimizers."""
    tiles = [torch.cat([resampled(p[None].double(), (side, side))[0] for p in pictures], 2) for pictures in rows]
    save(torch.cat(tiles, 1), file)


if __name__ == "__main__":
    main()
