"""`make scoreboard`: for each method, the share of positive attribution inside the true object, on the little world.

The networks are the bundled one and, for methods that read attention, the bundled transformer. Each method explains as
many scenes as it can in `--patience` seconds. The tables go into docs/scoreboard.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from benchmarks.tables import write_between
from netlens.attribution import METHODS, Method
from netlens.errors import NotApplicable
from netlens.evaluation import EdgeDetector, RandomMap, Score, scoreboard
from netlens.flat import FlatModel
from netlens.world.scene import batch
from netlens.zoo import BUNDLED, open_network

PAGE = Path("docs/scoreboard.md")
SEED = 7  # neither of the seeds that training and held-out accuracy use
FEW = 5
CONTROLS = (EdgeDetector, RandomMap)


def judge(flat: FlatModel, method: Method, x: Tensor, labels: list[int], masks: Tensor, patience: float) -> Score:
    """The score on as many scenes as the method can explain in time, which the first few scenes show."""
    start = time.perf_counter()
    (score,) = scoreboard(flat, x[:FEW], labels[:FEW], masks[:FEW], [method])
    n = min(len(x), int(patience * FEW / (time.perf_counter() - start)))
    return scoreboard(flat, x[:n], labels[:n], masks[:n], [method])[0] if n > 2 * FEW else score


def table(scores: list[Score]) -> str:
    controls = {control.__name__ for control in CONTROLS}
    lines = ["| method | inside the object | ± | scenes |", "|---|---|---|---|"]
    for score in sorted(scores, key=lambda score: -score.mean):
        name = f"*{score.method} (control)*" if score.method in controls else score.method
        lines.append(f"| {name} | {score.mean:.3f} | {score.error:.3f} | {score.n} |")
    best = max(score.mean for score in scores if score.method in controls)
    worse = [score.method for score in scores if score.method not in controls and score.mean <= best]
    return "\n".join([*lines, "", f"Not above the better control: {', '.join(worse) or 'none'}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--patience", type=float, default=15, help="seconds for a method (default: %(default)s)")
    parser.add_argument("--methods", help="by name, separated by commas; the page stays as it is")
    options = parser.parse_args()
    pictures, labels, masks = batch(SEED, options.images)
    names = list(METHODS) if options.methods is None else options.methods.split(",")
    print(f"{options.images} scenes; the object covers {masks.float().mean().item():.3f} of an image")
    for network in BUNDLED:
        flat = open_network(network)
        x = flat.adapter.preprocessing.normalize(pictures / 255)
        scores, without = [], []
        for method in tqdm([*(METHODS[name]() for name in names), *(control() for control in CONTROLS)], disable=None):
            try:
                scores.append(judge(flat, method, x, labels.tolist(), masks, options.patience))
            except NotApplicable:
                without.append(type(method).__name__)
        text = table(scores) + (f" Without meaning here: {', '.join(without)}." if without else "")
        print(f"\n{network}\n\n{text}")
        if options.methods is None:
            write_between(PAGE, network, text)


if __name__ == "__main__":
    main()
