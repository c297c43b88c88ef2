"""`make benchmark`: the time of a forward run: flat models, plain and compiled, against the original networks."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from benchmarks.pairs import in_turn, ratio, seconds
from benchmarks.tables import write_between
from netlens.flat import FlatModel
from netlens.weights import build

PAGE = Path("docs/speed.md")
NETWORKS = ("resnet50", "densenet121", "mobilenet_v2", "vit_b_32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=31)
    pairs = parser.parse_args().pairs
    conditions = f"{torch.get_num_threads()} threads, {pairs} pairs, torch {torch.__version__}"
    lines = [f"Batch 1, 224 x 224, float32, inference mode, {conditions}:", ""]
    lines += ["| network | plain, ms | flat / plain | compiled flat / plain | compiling, s |", "|---|---|---|---|---|"]
    print("\n".join(lines))
    for name in NETWORKS:
        plain = build(name)
        flat = FlatModel.from_nn_Module(plain)
        compiled = torch.compile(flat)
        x = torch.randn(1, 3, 224, 224)
        with torch.inference_mode():
            once = seconds(lambda: compiled(x))  # noqa: B023 - called at once
            works = {"plain": lambda: plain(x), "flat": lambda: flat(x), "compiled": lambda: compiled(x)}  # noqa: B023
            times = in_turn(works, pairs)
        ratios = " | ".join(f"{ratio(times[key], times['plain']):.3f}" for key in ("flat", "compiled"))
        lines.append(f"| {name} | {statistics.median(times['plain']) * 1000:.1f} | {ratios} | {once:.0f} |")
        print(lines[-1], flush=True)
    write_between(PAGE, "forward", "\n".join(lines))


if __name__ == "__main__":
    main()
