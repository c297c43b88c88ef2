"""`make rendering`: the time of an optimization step of netlens and of lucent, and of a plain forward and backward.

Steps are timed in turn in one process, 64 of them at a time, at 224 x 224, with standard transforms. `peer` and `least`
are their times, divided by the time of netlens. The least work is one forward to the layer and one backward to the
picture, with frozen, folded, channels-last weights, without parameterization, transforms or optimizer. `batch` is the
time of 16 steps of 16 channels one by one, divided by their time in one batch.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import least, lucent
from benchmarks.calibration import calibrated
from benchmarks.pairs import in_turn, ratio
from benchmarks.tables import write_between
from netlens.evaluation import randomize_
from netlens.flat import FlatModel
from netlens.visualization import NetDreamer
from netlens.weights import build

PAGE = Path("docs/visualization.md")
LAYERS = {
    "mobilenet_v2": ("features.4", "features.11", "features.18"),
    "resnet50": ("layer2", "layer4"),
    "vgg16": ("features.15", "features.29"),
}
STEPS, SIZE, CHANNEL, BUDGET = 64, 224, 3, 60.0
MANY, FEW = 16, 16  # the number of channels of a batch, and the number of their steps
HEADER = "| network | layer | ms a step | peer | least | batch |\n|---|---|---|---|---|---|"


def ours(flat: FlatModel, key: str, channels: list[int], steps: int = STEPS) -> Tensor:
    return NetDreamer(flat, size=SIZE, steps=steps, progress=False).channel(key, channels).images


def bare(network: nn.Module, key: str) -> None:
    """The least work of all steps."""
    activations: list[Tensor] = []

    class Reached(Exception):
        pass

    def stop(module: nn.Module, inputs: object, output: Tensor) -> None:
        activations.append(output)
        raise Reached

    handle = network.get_submodule(key).register_forward_hook(stop)
    try:
        for _ in range(STEPS):
            x = torch.rand(1, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last).requires_grad_()
            try:
                network(x)
            except Reached:
                torch.autograd.grad(activations.pop()[:, CHANNEL].mean(), x)
    finally:
        handle.remove()


def measure(name: str, key: str, rounds: int) -> str:
    network = calibrated(randomize_(build(name)), torch.randn(8, 3, SIZE, SIZE))
    flat, prepared, peer_network = FlatModel.from_nn_Module(network), least.prepared(network), copy.deepcopy(network)
    # a prepared network has no blocks, so the last layer of a block stands for the block
    inner = next(
        layer for layer, _ in reversed(list(prepared.named_modules())) if layer == key or layer.startswith(f"{key}.")
    )
    times = in_turn(
        {
            "ours": lambda: ours(flat, key, [CHANNEL]),
            "peer": lambda: lucent.pictures(peer_network, key, CHANNEL, SIZE, [STEPS]),
            "least": lambda: bare(prepared, inner),
        },
        rounds,
        BUDGET,
    )
    channels = list(range(MANY))
    batches = in_turn(
        {
            "batch": lambda: ours(flat, key, channels, FEW),
            "alone": lambda: [ours(flat, key, [c], FEW) for c in channels],
        },
        rounds,
        BUDGET,
    )
    cells = (
        f"{statistics.median(times['ours']) * 1000 / STEPS:.0f}",
        *(f"{ratio(times[rival], times['ours']):.2f}" for rival in ("peer", "least")),
        f"{ratio(batches['alone'], batches['batch']):.2f}",
    )
    return f"| {name} | {key} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    options = parser.parse_args()
    conditions = f"torch {torch.__version__}, {torch.get_num_threads()} threads, up to {options.rounds} rounds."
    lines = [conditions, "", *HEADER.split("\n")]
    print("\n".join(lines), flush=True)
    for name, keys in LAYERS.items():
        for key in keys if options.only in name else ():
            lines.append(measure(name, key, options.rounds))
            print(lines[-1], flush=True)
    if not options.only:
        write_between(PAGE, "rendering", "\n".join(lines))


if __name__ == "__main__":
    main()
