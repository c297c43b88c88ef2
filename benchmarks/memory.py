"""`make benchmark`: peak memory against the number of steps, samples, windows, masks, coalitions and classes.

Each number is the peak of the resident memory of a separate process, minus the peak of one saliency map and the memory
of the result, in MiB, on mobilenet_v2 at 224 x 224.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.tables import write_between
from netlens.attribution import (
    RISE,
    GradCAM,
    IntegratedGradients,
    KernelShap,
    Method,
    Occlusion,
    Saliency,
    SmoothGradient,
)
from netlens.flat import FlatModel
from netlens.objectives import logit
from netlens.weights import build

PAGE = Path("docs/speed.md")
COUNTS = (16, 64, 256, 1000)
CASES: dict[tuple[str, str], Callable[[int], Method]] = {
    ("integrated_gradients", "steps"): lambda n: IntegratedGradients(n_steps=n),
    ("smooth_gradient", "samples"): lambda n: SmoothGradient(n_samples=n),
    ("occlusion", "windows"): lambda n: Occlusion(224 // int(n**0.5), 224 // int(n**0.5)),
    ("rise", "masks"): lambda n: RISE(n_masks=n),
    ("kernel_shap", "coalitions"): lambda n: KernelShap(n_samples=n),
    ("grad_cam", "classes"): lambda n: GradCAM(),
    ("occlusion", "classes"): lambda n: Occlusion(56, 56),
    ("saliency", "classes"): lambda n: Saliency(),
}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(name: str, unit: str, n: int) -> float:
    flat = FlatModel.from_nn_Module(build("mobilenet_v2"))
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    Saliency()(flat, x, logit(0))
    peak_before = peak()
    copies, objective = (x.expand(n, -1, -1, -1), logit(list(range(n)))) if unit == "classes" else (x, logit(0))
    result = CASES[name, unit](n)(flat, copies, objective)
    return peak() - peak_before - result.values.nbytes / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "OF", "N"), help="measure this in this process")
    options = parser.parse_args()
    if options.one:
        print(measured(options.one[0], options.one[1], int(options.one[2])))
        return
    lines = [f"| method | of | {' | '.join(map(str, COUNTS))} |", "|---" * (len(COUNTS) + 2) + "|"]
    print("\n".join(lines))
    for name, unit in CASES:
        values = []
        for n in COUNTS:
            command = [sys.executable, "-m", "benchmarks.memory", "--one", name, unit, str(n)]
            values.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        lines.append(f"| {name} | {unit} | {' | '.join(f'{value:.0f}' for value in values)} |")
        print(lines[-1], flush=True)
    write_between(PAGE, "memory", "\n".join(lines))


if __name__ == "__main__":
    main()
