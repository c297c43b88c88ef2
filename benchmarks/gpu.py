"""Explanations and pictures on a GPU, beside the peers on the same GPU: `python -m benchmarks.gpu [--write]`.

The networks and cases are those of `benchmarks.peers`. All works run in one process in turn, and each is timed until
the GPU has finished. Styles are measured at growing sizes, with the most memory that torch took for them.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import lucent
from benchmarks.cases import DRAWN, Case, cases
from benchmarks.pairs import Work, in_turn, ratio
from benchmarks.peers import random_network
from benchmarks.tables import write_between
from netlens.flat import FlatModel
from netlens.visualization import NetDreamer
from netlens.visualization.style import StyleTransfer
from netlens.world.scene import scene

PAGE = Path("docs/speed.md")
KINDS = ("Grad-CAM", "saliency", "guided backprop", "integrated gradients", "LRP", "occlusion 32/16", "occlusion 16/8")
BATCHES = (1, 32)
STEPS, CHANNEL = 64, 3
LAYERS = {"mobilenet_v2": "features.11", "resnet50": "layer4", "vgg16": "features.29"}
SIZES = (512, 1024, 2048, 4096)
TILE = 1024


def finished(work: Callable[[], object]) -> Work:
    """The work until the GPU has done it."""

    def run() -> object:
        answer = work()
        torch.cuda.synchronize()
        return answer

    return run


def on_gpu(name: str) -> nn.Module:
    network = random_network(name, 0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5  # those of the peers' cases are 0, which the GPU refuses
    return network.cuda()


def explained(rounds: int) -> Iterator[str]:
    yield "| case | network | images | ms | peer |"
    yield "|---|---|---|---|---|"
    for case in cases():
        if case.name.startswith(KINDS) and case.batch == 1 and "torchcam" not in case.name:
            network = on_gpu(case.network)
            flat = FlatModel.from_nn_Module(network)
            for images in BATCHES if case.name.startswith(("Grad-CAM", "saliency")) else (1,):
                yield row(case, network, flat, images, rounds)


def row(case: Case, network: nn.Module, flat: FlatModel, images: int, rounds: int) -> str:
    x = torch.randn(images, 3, DRAWN, DRAWN, generator=torch.Generator().manual_seed(0)).cuda()
    works = {"ours": finished(partial(case.ours, flat, x))}
    # zennit's start of the relevance, as the case writes it, is a tensor of the processor
    if case.peer is not None and not case.name.startswith("LRP"):
        works["peer"] = finished(partial(case.peer, copy.deepcopy(network), x))
    times = in_turn(works, rounds)  # the first runs, which load the GPU's code, take seconds and do not count
    peer = f"{ratio(times['peer'], times['ours']):.2f}" if "peer" in works else ""
    return f"| {case.name} | {case.network} | {images} | {statistics.median(times['ours']) * 1000:.1f} | {peer} |"


def drawn(rounds: int) -> Iterator[str]:
    yield "| channel of | layer | side | ms a step | lucent |"
    yield "|---|---|---|---|---|"
    for name, key in LAYERS.items():
        network = on_gpu(name)
        flat, peer = FlatModel.from_nn_Module(network), copy.deepcopy(network)
        for size in (224, 512):
            dreamer = NetDreamer(flat, size=size, steps=STEPS, progress=False)
            works = {
                "ours": finished(partial(dreamer.channel, key, CHANNEL)),
                "peer": finished(partial(lucent.pictures, peer, key, CHANNEL, size, [STEPS])),
            }
            times = in_turn(works, rounds)
            step = statistics.median(times["ours"]) * 1000 / STEPS
            yield f"| {name} | {key} | {size} | {step:.1f} | {ratio(times['peer'], times['ours']):.2f} |"


def styled() -> Iterator[str]:
    yield "| style on vgg16, side in pixels | tiles | ms a step | GPU memory, GiB |"
    yield "|---|---|---|---|"
    flat = FlatModel.from_nn_Module(on_gpu("vgg16"))
    for size in SIZES:
        content, style = (pixels(seed, size) for seed in (1, 2))
        for tile in (None, TILE) if size > TILE else (None,):
            transfer = partial(StyleTransfer, size=(size, size), scales=1, tile=tile)
            transfer(steps=1)(flat, content, style, progress=False)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            begin, steps = time.perf_counter(), 10
            transfer(steps=steps)(flat, content, style, progress=False)
            torch.cuda.synchronize()
            step = (time.perf_counter() - begin) * 1000 / steps
            yield f"| {size} | {tile or 'none'} | {step:.0f} | {torch.cuda.max_memory_allocated() / 2**30:.2f} |"


def pixels(seed: int, size: int) -> Tensor:
    return torch.from_numpy(scene(seed, size).image.copy()).permute(2, 0, 1).float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE}")
    options = parser.parse_args()
    where = f"torch {torch.__version__}, {torch.cuda.get_device_name()}, up to {options.rounds} rounds."
    lines = [where]
    for part in (explained(options.rounds), drawn(options.rounds), styled()):
        lines.append("")
        for line in part:
            print(line, flush=True)
            lines.append(line)
    if options.write:
        write_between(PAGE, "gpu", "\n".join(lines))


if __name__ == "__main__":
    main()
