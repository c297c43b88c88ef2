"""The first explanation of a network, beside the peers: `python -m benchmarks.first [--write]`.

Each run is a process of its own, with the libraries imported and the network made. It is timed from the network to the
values of the first picture: flattening, checks, folding, and what torch does only once. The peers (captum's saliency,
pytorch-grad-cam's Grad-CAM) run in processes of their own as well, in turn with those of netlens.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.cases import of_captum, of_grad_cam
from benchmarks.tables import write_between
from netlens.attribution import GradCAM, Saliency
from netlens.flat import FlatModel
from netlens.objectives import logit
from netlens.weights import build

PAGE = Path("docs/speed.md")
NETWORKS = {
    "resnet50": "layer4",
    "mobilenet_v2": "features.18",
    "densenet121": "features.transition3.pool",
    "vit_b_16": "encoder.layers.encoder_layer_11.ln_1",
}
METHODS = ("Grad-CAM", "saliency")
TARGET, SIDE, GRID = 7, 224, 14


def ours(network: nn.Module, method: str, layer: str, x: Tensor) -> None:
    chosen = Saliency() if method == "saliency" else GradCAM(layer)
    chosen(FlatModel.from_nn_Module(network), x, logit(TARGET))


def of_peer(network: nn.Module, method: str, layer: str, x: Tensor) -> None:
    if method == "saliency":
        of_captum("Saliency")(network, x)
    elif "encoder" not in layer:
        of_grad_cam("GradCAM", layer)(network, x)
    else:
        of_grad_cam("GradCAM", layer, reshape_transform=_grid)(network, x)


def _grid(tokens: Tensor) -> Tensor:
    """The tokens of vit_b_16 as maps, which pytorch-grad-cam asks its users for."""
    maps: Tensor = tokens[:, 1:].mT.unflatten(2, (GRID, GRID))
    return maps


def one(who: str, name: str, method: str, threads: int) -> float:
    """The seconds of the first explanation in this process."""
    import captum.attr  # noqa: F401 - so that importing it does not count
    import pytorch_grad_cam  # noqa: F401

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network, x = build(name).eval(), torch.randn(1, 3, SIDE, SIDE)
    work: Callable[..., None] = ours if who == "ours" else of_peer
    begin = time.perf_counter()
    work(network, method, NETWORKS[name], x)
    return time.perf_counter() - begin


def measured(name: str, method: str, threads: int, rounds: int) -> str:
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for turn in range(rounds):
        for who in sorted(times, reverse=turn % 2 == 1):
            command = [sys.executable, "-m", "benchmarks.first", "--one", who, name, method, str(threads)]
            times[who].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    mine, theirs = (statistics.median(times[who]) for who in ("ours", "peer"))
    return f"| {method} | {name} | {threads} | {mine * 1000:.0f} | {theirs / mine:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--one", nargs=4, metavar=("WHO", "NETWORK", "METHOD", "THREADS"), help="print the seconds")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    options = parser.parse_args()
    if options.one:
        who, name, method, threads = options.one
        print(one(who, name, method, int(threads)))
        return
    lines = ["| method | network | threads | ms | first |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for method in METHODS:
        for name in NETWORKS:
            for threads in options.threads:
                lines.append(measured(name, method, threads, options.rounds))
                print(lines[-1], flush=True)
    if options.write:
        head = f"torch {torch.__version__}, median of {options.rounds} processes each."
        write_between(PAGE, "first", "\n".join([head, "", *lines]))


if __name__ == "__main__":
    main()
