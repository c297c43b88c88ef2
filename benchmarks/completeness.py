"""`make completeness`: whether DeepLIFT accounts for the whole change of the output, on torchvision's networks.

Each network has random weights and explains a scene, with zeros, noise and another scene as baselines. The gap is the
part of f(x) - f(baseline) that the values miss, relative to this change, for the class that changes most. The exit code
is not 0 if a gap is above 1e-6 in float64, or above 1e-3 in float32.

The statistics of batch norms are measured on scenes and on noise, so that they fit the inputs, as in a trained network.
With random statistics, the gates of deep networks jump between 0 and 1, and the output is not determined: the output of
efficientnet_v2_s differs by 14% between float32 and float64. With statistics of scenes alone, the output of
efficientnet_b7 is 66,000 on noise and 3 on scenes.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor
from tqdm import tqdm

from benchmarks.calibration import calibrated
from netlens.attribution import DeepLift
from netlens.evaluation import randomize_
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.objectives import logit
from netlens.weights import build
from netlens.world.scene import scene

TOLERANCES = {"float64": 1e-6, "float32": 1e-3}
BASELINES = ("zero", "noise", "image")
FIXED = ("vit", "maxvit")  # networks that take images of one size only


@dataclass(frozen=True)
class Row:
    """The relative gaps of one network, one for each baseline."""

    network: str
    dtype: str
    size: int
    gaps: tuple[float, ...]
    seconds: float
    error: str = ""

    @property
    def passed(self) -> bool:
        # `not gap > tolerance` would be True for NaN
        return not self.error and all(gap <= TOLERANCES[self.dtype] for gap in self.gaps)

    def __str__(self) -> str:
        shown = " | ".join(f"{gap:.1e}" for gap in self.gaps) if not self.error else f"{self.error} | |"
        return f"| {self.network} | {self.dtype} | {self.size} | {shown} | {self.seconds:.1f} |"


def picture(seed: int, height: int, width: int) -> Tensor:
    """A scene (1, 3, height, width) as the input of a network."""
    pixels = torch.from_numpy(scene(seed, max(height, width)).image.copy()).permute(2, 0, 1)
    return (pixels[None, :, :height, :width] / 255 - 0.45) / 0.225


def noise(seed: int, height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def pictures(height: int, width: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The explained scene and its baselines."""
    image, other_image = picture(0, height, width), picture(1, height, width)
    return image, {"zero": torch.zeros_like(image), "noise": noise(0, height, width), "image": other_image}


def gap(flat: FlatModel, x: Tensor, output: Tensor, baseline: Tensor) -> float:
    """The completeness gap relative to the change of the output (1, classes), at the class that changes most."""
    with torch.inference_mode():
        changes = (output - flat(baseline))[0]
    target = int(changes.abs().argmax())
    result = DeepLift(baselines=baseline)(flat, x, logit(target))
    relative: float = abs(result.diagnostics["completeness_gap"].item() / changes[target].item())
    return relative


def measure(name: str, dtype: str, size: int | None = None) -> Row:
    kind: torch.dtype = getattr(torch, dtype)
    network = randomize_(build(name))
    expected = adapter_of(network).preprocessing.size
    assert expected is not None
    height, width = expected if size is None or name.startswith(FIXED) else (size, size)
    start = time.perf_counter()
    try:
        batch = torch.cat([see(seed, height, width) for see in (picture, noise) for seed in range(2, 6)])
        flat = FlatModel.from_nn_Module(calibrated(network, batch).to(kind))
        image, baselines = pictures(height, width)
        x = image.to(kind)
        with torch.inference_mode():
            output = flat(x)
        gaps = tuple(gap(flat, x, output, baselines[which].to(kind)) for which in BASELINES)
    except Exception as error:  # one failing network must not hide the other 79
        return Row(name, dtype, height, (), 0.0, f"{type(error).__name__}: {error}".split("\n")[0])
    return Row(name, dtype, height, gaps, time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="networks; by default all of torchvision.models")
    parser.add_argument("--dtype", nargs="+", choices=TOLERANCES, default=["float64", "float32"])
    parser.add_argument(
        "--size", type=int, help="of the images, for networks that take any; by default the expected one"
    )
    options = parser.parse_args(arguments)
    names = options.names or torchvision.models.list_models(module=torchvision.models)
    rows: list[Row] = []
    print(f"| network | type | size | {' | '.join(BASELINES)} | seconds |\n|---|---|---|---|---|---|---|")
    for dtype in options.dtype:
        for name in tqdm(names, disable=None):
            gc.collect()
            rows.append(measure(name, dtype, options.size))
            print(rows[-1], flush=True)
    failed = [f"{row.network} ({row.dtype})" for row in rows if not row.passed]
    print(f"\n{len(rows) - len(failed)} of {len(rows)} pass")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
