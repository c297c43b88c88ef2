"""`make pictures`: the pictures in images/ that the README and the docs show.

Without arguments, it makes the pictures of the bundled network. With `--weights` (of mobilenet_v2) and `--photos` (a
folder), it also makes the panel of photographs.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from netlens import NetLens, open_network
from netlens.attribution import Method, Occlusion
from netlens.images import save
from netlens.show import Picture, panel
from netlens.testing import assert_looks_at
from netlens.world.scene import scene

IMAGES = Path("images")
PHOTOS = ("macaw", "egyptian_cat", "sunflower", "samoyed")
CHOICE = ("grad_cam", "guided_backprop", "guided_grad_cam", "integrated_gradients")
SHOWN = (
    *("saliency", "input_x_gradient", "guided_backprop", "deconvolution", "smooth_gradient"),
    *("integrated_gradients", "deep_lift", "lrp", "grad_cam", "guided_grad_cam", "occlusion"),
)
SCENE = 5
WIDTH = 1120
CLAIM = 480


def write(figure: Picture, name: str) -> None:
    """The panel at the width of a page, so that the repository stays small."""
    picture = Image.fromarray(figure.rgba()[..., :3])
    picture.thumbnail((WIDTH, 10 * WIDTH), Image.Resampling.LANCZOS)
    save(picture, IMAGES / name)


def failed_claim() -> Image.Image:
    """The picture of the claim in docs/testing.md that does not hold."""
    scenes = [scene((2026, i)) for i in range(3)]
    lens = NetLens(open_network("shapes"), [one.image for one in scenes])
    try:
        assert_looks_at(lens, np.stack([one.mask for one in scenes]), share=0.6)
    except AssertionError as error:
        path = re.search(r"look at +(\S+\.png)", str(error))
        assert path is not None, error
        return Image.open(path[1]).convert("RGB")
    raise AssertionError("the claim holds, so docs/testing.md must make another one.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="ImageNet weights of mobilenet_v2")
    parser.add_argument("--photos", type=Path, help="a folder with " + ", ".join(f"{name}.jpg" for name in PHOTOS))
    options = parser.parse_args()
    save(Image.fromarray(scene(SCENE, size=384).image), IMAGES / "scene.png")
    lens = NetLens(open_network(), IMAGES / "scene.png")
    write(panel(lens.attribute(list(SHOWN)), columns=4), "methods.jpg")
    claim = failed_claim()
    claim.thumbnail((CLAIM, 10 * CLAIM), Image.Resampling.LANCZOS)
    claim.save(IMAGES / "testing" / "looks_at.jpg", quality=85)
    if options.weights is not None and options.photos is not None:
        flat = open_network("mobilenet_v2", options.weights)
        lens = NetLens(flat, [options.photos / f"{name}.jpg" for name in PHOTOS])
        methods: list[str | Method] = [*CHOICE, Occlusion(window=48, stride=16)]
        write(panel(lens.attribute(methods), columns=len(methods) + 1), "photos.jpg")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
