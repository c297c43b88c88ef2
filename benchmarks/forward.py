"""`make benchmark`: one forward of flat models against the plain ones, in paired runs in turn (A B A B ...)."""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from netlens.flat import FlatModel
from netlens.weights import build

NETWORKS = ("resnet50", "densenet121", "mobilenet_v2", "vit_b_32")


def seconds(model: nn.Module, x: torch.Tensor) -> float:
    start = time.perf_counter()
    model(x)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=31)
    pairs = parser.parse_args().pairs
    print(f"batch 1, 224 x 224, float32, {torch.get_num_threads()} threads, {pairs} pairs, torch {torch.__version__}\n")
    print("| network | plain, ms | flat, ms | flat / plain, median of pairs |\n|---|---|---|---|")
    for name in NETWORKS:
        plain = build(name)
        flat = FlatModel.from_nn_Module(plain)
        x = torch.randn(1, 3, 224, 224)
        with torch.inference_mode():
            for _ in range(3):
                seconds(plain, x), seconds(flat, x)
            times = []
            for i in range(pairs):
                # the order within a pair alternates, so that neither side always runs on the other's warm caches
                first, second = (plain, flat) if i % 2 else (flat, plain)
                one, two = seconds(first, x), seconds(second, x)
                times.append((one, two) if i % 2 else (two, one))
        ratio = statistics.median(f / p for p, f in times)
        p, f = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
        print(f"| {name} | {p:.1f} | {f:.1f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
