"""The error and the speed of `precision="bf16"`.

    python -m benchmarks.precision --model mobilenet_v2 --weights FILE --photo PHOTO

`error` is the largest difference from float32, divided by the largest value. `rank` is the rank correlation of the
values. `faster` is the time of float32, divided by the time of bf16 (the median of paired rounds).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.pairs import in_turn, ratio
from benchmarks.tables import write_between
from netlens import NetLens, open_network

PAGE = Path("docs/speed.md")
METHODS = ("saliency", "integrated_gradients", "smooth_gradient", "grad_cam", "score_cam", "occlusion", "lrp")
ROUNDS, BUDGET = 5, 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--photo", default="images/scene.png")
    options = parser.parse_args()
    flat = open_network(options.model, options.weights)
    exact, rough = NetLens(flat, options.photo), NetLens(flat, options.photo, precision="bf16")
    lines = [
        f"{flat.name}, {Path(options.photo).name}, {torch.get_num_threads()} threads, torch {torch.__version__}:",
        *("", "| method | error | rank | faster |", "|---|---|---|---|"),
    ]
    print("\n".join(lines))
    for name in METHODS:
        exact_values, rough_values = (lens.attribute(name).values.flatten() for lens in (exact, rough))
        error = (rough_values - exact_values).abs().max() / exact_values.abs().max()
        ranks = torch.stack([values.argsort().argsort().double() for values in (exact_values, rough_values)])
        works = {"exact": lambda: exact.attribute(name), "rough": lambda: rough.attribute(name)}  # noqa: B023
        times = in_turn(works, ROUNDS, BUDGET)
        numbers = f"{error:.3f} | {torch.corrcoef(ranks)[0, 1]:.3f} | {ratio(times['exact'], times['rough']):.2f}"
        lines.append(f"| {name} | {numbers} |")
        print(lines[-1], flush=True)
    write_between(PAGE, "precision", "\n".join(lines))


if __name__ == "__main__":
    main()
