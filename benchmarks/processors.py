"""`python -m benchmarks.processors [--write]`: preprocessing read from timm and Hugging Face, beside what they do.

timm's transforms are compared bit for bit. Each image processor of transformers runs with its usual settings: either
netlens prepares the same pictures to `TOLERANCE`, or it refuses the processor.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import timm.data
import torch
import transformers
from PIL import Image
from tqdm import tqdm

from benchmarks.tables import write_between
from netlens.errors import ImageError
from netlens.preprocessing import Preprocessing

PAGE, MARK = Path("docs/networks.md"), "processors"
TOLERANCE = 2e-6
SIDES = ((301, 233), (112, 349), (64, 64), (37, 61), (640, 480))  # width, height
SIZES = ((96, 96), (99, 99), (64, 96))  # height, width
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
CROPS = (0.75, 0.875, 0.95, 1.0)
MODES = ("center", "squash", "border")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def pictures() -> list[Image.Image]:
    """Smooth pictures, on which no kind of resizing equals another."""
    generator = np.random.default_rng(0)
    return [
        Image.fromarray(generator.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize(side, Image.Resampling.BICUBIC)
        for side in SIDES
    ]


def of_timm(images: list[Image.Image]) -> Iterator[bool]:
    """Whether each picture is equal bit for bit, for each config, read from the config and from the transforms."""
    for size, interpolation, crop, mode in product(SIZES, INTERPOLATIONS, CROPS, MODES):
        config = {"input_size": (3, *size), "interpolation": interpolation, "crop_pct": crop, "crop_mode": mode}
        transform = timm.data.create_transform(**config, mean=MEAN, std=STD)
        for source in (config | {"mean": MEAN, "std": STD}, transform):
            preprocessing = Preprocessing.from_transforms(source)
            yield from (torch.equal(preprocessing(image)[0], transform(image)) for image in images)


def verdict(name: str, images: list[Image.Image]) -> str:
    """What netlens makes of a processor of transformers: equal, refused, different, or not made without settings."""
    try:
        processor: Any = getattr(transformers, name)()
    except Exception:  # some need settings, some a library
        return "cannot be made without settings"
    try:
        preprocessing = Preprocessing.from_transforms(processor)
    except ImageError:
        return "refused"
    for image in images:
        expected = processor(images=image, return_tensors="pt")["pixel_values"]
        if not torch.allclose(preprocessing(image), expected, rtol=0, atol=TOLERANCE):
            return "different"
    return "equal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # processors that netlens cannot read warn, too
    images = pictures()
    equal = list(of_timm(images))
    names = [name for name in dir(transformers) if name.endswith(("ImageProcessor", "ImageProcessorPil"))]
    names = [name for name in names if name not in ("AutoImageProcessor", "BaseImageProcessor")]
    counts = Counter(verdict(name, images) for name in tqdm(names, disable=None))
    rows = [f"| timm {timm.__version__}, `create_transform` | {len(equal)} | {sum(equal)} | {equal.count(False)} | 0 |"]
    total = sum(counts.values()) - counts["cannot be made without settings"]
    rows.append(
        f"| transformers {transformers.__version__}, image processors | {total} | {counts['equal']} |"
        f" {counts['different']} | {counts['refused']} |"
    )
    table = "\n".join(["| library | compared | equal | different | refused |", "|---|---|---|---|---|", *rows])
    print(table, dict(counts), sep="\n")
    if options.write:
        write_between(PAGE, MARK, table)


if __name__ == "__main__":
    main()
