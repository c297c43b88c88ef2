"""`make gallery`: sheets of visualizations for the README and docs/visualization.md.

It needs `--weights` (of mobilenet_v2) and `--photos` (a folder). Channels are chosen at random, and no result is
selected by its looks. With `--lite0` (weights of timm's tf_efficientnet_lite0), it also explains the photos with this
network.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageOps

from netlens import NetLens, open_network
from netlens.attribution import Method, Occlusion
from netlens.flat import FlatModel
from netlens.images import load
from netlens.results import Render
from netlens.results.row import photograph, row
from netlens.show import panel
from netlens.visualization import NetDreamer, activation_atlas, dream, invert
from netlens.visualization.picture import picture_for
from netlens.visualization.style import stylize

PICTURES = Path("images/visualization")
DEPTHS = ("features.2", "features.4", "features.7", "features.11", "features.14", "features.17")
SEED, CHANNELS, WIDTH = 0, 8, 1200
PHOTOS = ("macaw", "egyptian_cat", "sunflower", "samoyed")
EXPLAINED = ("grad_cam", "guided_backprop", "integrated_gradients", "lrp")
CLASSES = ("macaw", "daisy", "Samoyed", "lion", "goldfish", "monarch")


def on_page(picture: Image.Image, name: str) -> None:
    picture.thumbnail((WIDTH, 10 * WIDTH), Image.Resampling.LANCZOS)
    picture.save(PICTURES / f"{name}.jpg", quality=82)  # a quality of 82 keeps the repository small


def write(render: Render, name: str, columns: int | None = None) -> None:
    """The sheet with its captions at the width of a page, as a JPEG."""
    on_page(Image.fromarray(render.show(columns=columns).rgba()[..., :3]), name)


def original(picture: Path | Image.Image, like: Render, caption: str = "the photo") -> Render:
    """The original of a picture, in the size of the picture."""
    height, width = like.images.shape[2:]
    fitted = ImageOps.fit(load(picture), (width, height), Image.Resampling.LANCZOS)
    return photograph(TF.to_tensor(fitted), caption, like)


def channels(flat: FlatModel, photos: Path) -> None:
    lot = random.Random(SEED)
    dreamer = NetDreamer(flat, size=128)
    with_lots = []
    for key in DEPTHS:
        count = flat.record(torch.zeros(1, 3, 64, 64), layers=[key])[flat.key(key)].shape[1]
        with_lots.append(dreamer.channel(key, sorted(lot.sample(range(count), CHANNELS))))
    write(row(*with_lots), "channels", CHANNELS)


def classes(flat: FlatModel, photos: Path) -> None:
    write(NetDreamer(flat, size=224).classes(CLASSES), "classes", 3)


def dreams(flat: FlatModel, photos: Path) -> None:
    photo = photos / "sunflower.jpg"
    keys = ("features.7", "features.14")
    renders = [dream(flat, photo, key, size=448) for key in keys]
    write(row(original(photo, renders[0]), *renders, captions=("the photo", *keys)), "dream", 3)


def inversion(flat: FlatModel, photos: Path) -> None:
    render = invert(flat, photos / "macaw.jpg", DEPTHS, size=224)
    write(row(photograph(picture_for(flat, photos / "macaw.jpg", 224)[0], "the photo", render), render), "inversion", 7)


def atlas(flat: FlatModel, photos: Path) -> None:
    result = activation_atlas(flat, photos / "egyptian_cat.jpg", "features.14", size=224)
    on_page(Image.fromarray(result.show().rgba()[..., :3]), "atlas")


def styles(flat: FlatModel, photos: Path) -> None:
    contents = (photos / "egyptian_cat.jpg", photos / "samoyed.jpg")
    pictures = (photos / "macaw.jpg", photos / "sunflower.jpg", Path("images/scene.png"))
    rows = []
    for content in contents:
        square = ImageOps.fit(Image.open(content), (256, 256), bleed=0.07)  # one photo has black bars
        renders = [
            replace(stylize(flat, square, style, size=256), captions=(f"as {style.stem}",)) for style in pictures
        ]
        rows += [original(square, renders[0], content.stem), *renders]
    corner = photograph(torch.ones(3, 256, 256), "", rows[0])
    squares = [ImageOps.fit(Image.open(style), (256, 256)) for style in pictures]
    head = [original(square, rows[0], style.stem) for square, style in zip(squares, pictures, strict=True)]
    write(row(corner, *head, *rows), "styles", 4)


def of_timm(weights: Path, photos: Path) -> None:
    lens = NetLens(open_network("timm/tf_efficientnet_lite0", weights), [photos / f"{name}.jpg" for name in PHOTOS])
    methods: list[str | Method] = [*EXPLAINED, Occlusion(window=48, stride=16)]
    sheet = panel(lens.attribute(methods), columns=len(methods) + 1)
    on_page(Image.fromarray(sheet.rgba()[..., :3]), "timm")


SHEETS: dict[str, Callable[[FlatModel, Path], None]] = {
    sheet.__name__: sheet for sheet in (channels, classes, dreams, inversion, atlas, styles)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="ImageNet weights of mobilenet_v2")
    parser.add_argument("--photos", required=True, type=Path, help="a folder with macaw.jpg, samoyed.jpg, …")
    parser.add_argument("--only", choices=SHEETS, nargs="*", default=list(SHEETS))
    parser.add_argument("--lite0", type=Path, help="ImageNet weights of timm's tf_efficientnet_lite0")
    options = parser.parse_args()
    flat = open_network("mobilenet_v2", options.weights)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for sheet in options.only:
        SHEETS[sheet](flat, options.photos)
        print(sheet, flush=True)
    if options.lite0 is not None:
        of_timm(options.lite0, options.photos)


if __name__ == "__main__":
    main()
