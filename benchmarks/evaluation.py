"""`python -m benchmarks.evaluation`: what metrics say of methods on the little world, and their speed beside Quantus.

    python -m benchmarks.evaluation [--images 16] [--only metrics|table|speed]

The tables go into docs/evaluation.md. Both networks of the little world are judged on held-out scenes, by the
probability of the true class. Times are processor time on one thread; netlens and Quantus take turns on the same
images.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.tables import write_between
from netlens.attribution import METHODS
from netlens.evaluation import METRICS, Case, Evaluation, Explanation, evaluate
from netlens.evaluation.metrics import Deletion, FaithfulnessEstimate, PixelFlipping, Selectivity
from netlens.objectives import logit, probability
from netlens.world.scene import batch
from netlens.zoo import BUNDLED, open_network

PAGE = Path("docs/evaluation.md")
SEED = 11  # neither of the seeds that training, held-out accuracy and the scoreboard use
QUICK = (
    *("saliency", "input_x_gradient", "integrated_gradients", "guided_backprop", "deep_lift", "lrp"),
    *("excitation_backprop", "grad_cam", "layer_cam", "eigen_cam", "guided_grad_cam", "full_grad"),
    *("attention_rollout", "le_grad"),
)
JUDGES = (
    *("insertion", "deletion", "road", "faithfulness_correlation", "infidelity", "max_sensitivity"),
    *("parameter_randomization", "random_class", "energy_inside", "pointing_game", "gini"),
)


def case_of(network: str, n: int) -> Case:
    """Held-out scenes with their masks, judged by the probability of the true class."""
    flat = open_network(network)
    pictures, labels, masks = batch(SEED, n)
    x = flat.adapter.preprocessing.normalize(pictures / 255)
    targets = labels.tolist()
    return Case(flat, x, logit(targets), probability(targets), masks)


def metrics() -> str:
    """All metrics, from their fields."""
    lines = ["| metric | family | better | from | to | asks |", "|---|---|---|---|---|---|"]
    for name, metric in METRICS.items():
        low, high = (("" if abs(end) == float("inf") else f"{end:g}") for end in metric.bounds)
        asks = {"method": "the method again", "masks": "masks", None: ""}[metric.needs]
        better = "more" if metric.more_is_better else "less"
        lines.append(f"| `{name}` | {metric.family} | {better} | {low} | {high} | {asks} |")
    return "\n".join(lines)


def table(evaluation: Evaluation) -> str:
    """The means, with τ between halves and the controls that win below."""
    lines = [f"| | {' | '.join(evaluation.metrics)} |", "|---|" + "--:|" * len(evaluation.metrics)]
    for method in evaluation.methods:
        if (method,) in evaluation.why:
            continue
        name = f"*{method}*" if method in evaluation.controls else method
        cells = []
        for metric in evaluation.metrics:
            one = evaluation.of(method, metric)
            same = metric in evaluation.metrics and not evaluation.differ(evaluation.ranking(metric)[0], method, metric)
            text = "" if not one.n else f"{one.mean:.2f}"
            cells.append(f"**{text}**" if text and same else text)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(
        f"| τ of halves | {' | '.join(f'{evaluation.agreement(metric):.2f}' for metric in evaluation.metrics)} |"
    )
    lines.append(f"| a control is best | {' | '.join(evaluation.beaten(metric) for metric in evaluation.metrics)} |")
    without = [names[0] for names in evaluation.why if len(names) == 1]
    return "\n".join([*lines, "", f"{len(evaluation)} scenes. Without meaning here: {', '.join(without) or 'none'}."])


def speed() -> str:
    """Paired times of four metrics beside Quantus at its best batch size."""
    import quantus as library

    quantus: Any = library  # its names are made when it is imported
    quiet = {"disable_warnings": True, "display_progressbar": False, "normalise": False, "abs": False}
    n, lines = (
        16,
        ["| metric | netlens, s | Quantus, s | times as fast | largest relative difference |", "|---|--:|--:|--:|--:|"],
    )
    case = case_of("shapes", n)
    case = Case(case.flat, case.x, case.explained)
    maps = torch.rand(n, *case.sides, generator=torch.Generator().manual_seed(0))
    whole = maps[:, ::16, ::16].repeat_interleave(16, 1).repeat_interleave(16, 2)
    module = case.flat
    targets = np.array(case.explained.targets(case.flat, n))
    pairs: list[tuple[str, Callable[[Explanation], Tensor], Callable[[], object], Tensor]] = [
        (
            "PixelFlipping, 256 pixels a step",
            lambda e: PixelFlipping(256, baselines=0.0).curve(e)[1],
            lambda: quantus.PixelFlipping(features_in_step=256 * 3, perturb_baseline=0.0, **quiet),
            maps,
        ),
        (
            "FaithfulnessEstimate, 256 pixels a part",
            FaithfulnessEstimate(256, baselines=0.0),
            lambda: quantus.FaithfulnessEstimate(features_in_step=256 * 3, perturb_baseline=0.0, **quiet),
            maps,
        ),
        (
            "Selectivity, regions of 16 x 16",
            lambda e: Selectivity(16, baselines=0.0).curve(e)[1][:, 1:],
            lambda: quantus.Selectivity(patch_size=16, perturb_baseline=0.0, **quiet),
            whole,
        ),
    ]
    for name, ours, theirs, relevance in pairs:
        mine, peer, values, expected = [], [], None, None
        for _ in range(3):
            start = time.process_time()
            values = ours(Explanation.of(case, relevance))
            mine.append(time.process_time() - start)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                times = []
                for size in (4, 16):
                    start = time.process_time()
                    expected = theirs()(  # type: ignore[operator]
                        model=module, x_batch=case.x.numpy(), y_batch=targets,
                        a_batch=relevance[:, None].expand(-1, 3, -1, -1).numpy().copy(),
                        device="cpu", batch_size=size, softmax=False,
                    )  # fmt: skip
                    times.append(time.process_time() - start)
                peer.append(min(times))
        assert values is not None
        wanted = np.asarray(expected, dtype=np.float64)
        same = wanted.shape == tuple(values.shape)
        gap = np.abs(values.numpy() - wanted).max() / np.abs(wanted).max() if same else float("nan")
        a, b = min(mine), min(peer)
        lines.append(f"| {name} | {a:.2f} | {b:.2f} | {b / a:.1f} | {gap:.0e} |")
    start = time.process_time()
    explanation = Explanation.of(case, maps)
    Deletion(baselines=0.0)(explanation)
    lines.append(f"| Deletion, 32 steps | {time.process_time() - start:.2f} | | | |")
    return "\n".join(lines)


def _counted(bar: Any) -> Callable[[str], object]:
    return lambda name: bar.update()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--only", choices=("metrics", "table", "speed"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only in (None, "metrics"):
        write_between(PAGE, "metrics", metrics())
    if options.only in (None, "table"):
        for network in BUNDLED:
            case = case_of(network, options.images)
            names = [name for name in QUICK if name in METHODS]
            with tqdm(total=len(names) + 4, disable=None) as bar:
                evaluation = evaluate(case, names, JUDGES, progress=_counted(bar))
            write_between(PAGE, network, table(evaluation))
    if options.only in (None, "speed"):
        write_between(PAGE, "speed", speed())


if __name__ == "__main__":
    main()
