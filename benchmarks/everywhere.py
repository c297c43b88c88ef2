"""Pictures from every network: a channel, a class, a dream, an inversion and a style on all of torchvision.

    python -m benchmarks.everywhere [NETWORK ...] [--only KIND ...]

Each network has random weights, and batch norms with statistics of scenes. A few steps must improve each objective: a
channel of the deepest style layer, a class, a dream on this layer, an inversion of the first style layer, and a style
transfer. The exit code is not 0 if one of them fails.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torchvision
from torch import Tensor
from torch.optim import Adam
from tqdm import tqdm

from benchmarks.calibration import calibrated
from netlens.evaluation import randomize_
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.objectives import Record, layer
from netlens.objectives.layers import channel_maps
from netlens.visualization import NetDreamer, dream, invert
from netlens.visualization.style import default_layers, stylize
from netlens.visualization.transforms import Chain
from netlens.weights import build
from netlens.world.scene import scene

SIZE, STEPS = 96, 16  # SIZE in pixels, for networks that take images of any size
KINDS = ("channel", "class", "dream", "inversion", "style")


def pixels(seed: int, size: int) -> Tensor:
    """A scene (3, size, size) in [0, 1]."""
    return torch.from_numpy(scene(seed, size).image.copy()).permute(2, 0, 1) / 255


def strongest(flat: FlatModel, key: str, look: Tensor) -> int:
    """The index of the channel, among the first four of a layer, that a picture excites most. Others may be dead."""
    with torch.no_grad():
        record = Record(flat, flat.record(look, layers=[key]))
    maps = torch.stack([channel_maps(record, key, i)[0] for i in range(4)])
    return int(maps.flatten(1).mean(1).argmax())


def gains(name: str) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Each kind of picture, with a function that makes it and says whether the objective has improved."""
    network = randomize_(build(name))
    height, width = adapter_of(network).preprocessing.size or (224, 224)
    flat = FlatModel.from_nn_Module(
        calibrated(network, torch.stack([pixels(seed, max(height, width)) for seed in range(4)]))
    )
    image, style_image = pixels(0, SIZE), pixels(1, SIZE)
    look = flat.adapter.preprocessing.normalize(pixels(0, max(height, width))[None, :, :height, :width])
    style, _ = default_layers(flat, look)
    # without disturbances, because after few steps their effect is larger than the improvement; with small steps,
    # because the objective of a deep random network is rough: with usual steps, regnet_y_400mf goes from -3 to -700
    gentle = {"optimizer": partial(Adam, lr=0.001)}
    dreamer = NetDreamer(flat, SIZE, STEPS, transforms=Chain(), progress=False, options=gentle)

    def rises(history: Tensor) -> bool:
        return bool(torch.isfinite(history).all()) and bool((history[-1] > history[0]).all())

    yield "channel", lambda: rises(dreamer.channel(style[-1], strongest(flat, style[-1], look)).history)
    yield "class", lambda: rises(dreamer.classes([3]).history)
    yield "dream", lambda: rises(dream(flat, image, layer(style[-1]), octaves=1, jitter=0, progress=False).history)
    yield "inversion", lambda: rises(invert(flat, image, style[0], steps=STEPS, progress=False).history)

    def styled() -> bool:
        losses = stylize(flat, image, style_image, steps=STEPS, scales=1, progress=False).provenance.options["losses"]
        nearer: bool = losses["style"]["end"] < losses["style"]["start"]
        return nearer

    yield "style", styled


def tried(work: Callable[[], bool]) -> str:
    try:
        return "✓" if work() else "no better"
    except Exception as error:  # one failing picture must not hide the others
        return f"{type(error).__name__}: {error}".split("\n")[0]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="networks; by default all of torchvision.models")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args(arguments)
    kinds = [kind for kind in KINDS if kind in options.only]
    names = options.names or torchvision.models.list_models(module=torchvision.models)
    print(f"| network | {' | '.join(kinds)} | seconds |\n|{'---|' * (len(kinds) + 2)}")
    failed = []
    for name in tqdm(names, disable=None):
        gc.collect()
        start = time.perf_counter()
        verdicts = {kind: tried(work) for kind, work in gains(name) if kind in kinds}
        failed += [f"{name} ({kind})" for kind, verdict in verdicts.items() if verdict != "✓"]
        print(f"| {name} | {' | '.join(verdicts.values())} | {time.perf_counter() - start:.0f} |", flush=True)
    total = len(names) * len(kinds)
    print(f"\n{total - len(failed)} of {total} objectives improved")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
