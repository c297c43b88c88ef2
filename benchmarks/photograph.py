"""The share of positive attribution inside an object on a photo.

The mask is an image of the same size: 0 on the object, 1 around it, 2 for undecided pixels.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from netlens import NetLens, open_network
from netlens.evaluation import share_inside
from netlens.preprocessing import Preprocessing

METHODS = ("grad_cam", "guided_grad_cam", "guided_backprop", "occlusion", "saliency", "integrated_gradients")


def cropped(mask: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """(1, H, W): a boolean mask, resized and cropped by the preprocessing of the network."""
    plain = replace(preprocessing, mean=(0.0,), std=(1.0,), interpolation="nearest")
    return plain(Image.fromarray(mask.astype(np.uint8) * 255))[:, 0] > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilenet_v2")
    for name in ("weights", "photo", "mask"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    lens = NetLens(open_network(options.model, options.weights), options.photo)
    trimap = np.array(Image.open(options.mask))
    inner, outer = (cropped(mask, lens.flat.adapter.preprocessing) for mask in (trimap == 0, trimap != 1))
    print(lens.predictions(k=1))
    print(f"the object covers {inner.float().mean():.3f}, with the undecided border {outer.float().mean():.3f}\n")
    print("| method | inside | with the undecided border |\n|---|---|---|")
    for name in METHODS:
        shares = (share_inside(lens.attribute(name), mask).item() for mask in (inner, outer))
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |")


if __name__ == "__main__":
    main()
