"""`python -m benchmarks.evaluation`: what metrics say of methods on the little world, and their speed beside Quantus.

    python -m benchmarks.evaluation [--images 16] [--only metrics|table|truths|speed|all] [--neighbor FILE]

The tables go into docs/evaluation.md. With `--only all`, every method is judged by twenty metrics, in two processes,
and goes on where the last run stopped. Both networks of the little world are judged on held-out scenes, by the
probability of the true class. Times are processor time on one thread; netlens and Quantus take turns on the same
images.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.tables import write_between
from netlens.attribution import METHODS
from netlens.evaluation import METRICS, Case, Evaluation, Explanation, ImageParts, evaluate, grids, shown
from netlens.evaluation.metrics import (
    Deletion,
    FaithfulnessEstimate,
    MaxSensitivity,
    Metric,
    PixelFlipping,
    Selectivity,
    SmoothRandomization,
)
from netlens.flat import FlatModel
from netlens.objectives import logit, probability
from netlens.world import parts
from netlens.world.network import architecture, network
from netlens.world.scene import batch
from netlens.zoo import BUNDLED, open_network

PAGE = Path("docs/evaluation.md")
ALL = Path("docs/scoreboard.md")
SEED = 11  # neither of the seeds that training, held-out accuracy and the scoreboard use
QUICK = (
    *("saliency", "input_x_gradient", "integrated_gradients", "guided_backprop", "deep_lift", "lrp"),
    *("excitation_backprop", "grad_cam", "layer_cam", "eigen_cam", "guided_grad_cam", "full_grad"),
    *("attention_rollout", "le_grad"),
)
ASKS = {"method": "the method again", "neighbor": "a network of another seed", "shuffled": "one of shuffled labels"}
JUDGES = (
    *("insertion", "deletion", "road", "faithfulness_correlation", "infidelity", "max_sensitivity"),
    *("parameter_randomization", "random_class", "energy_inside", "pointing_game", "gini"),
)
SLOW_OR_ATTENTION = ("integrated_gradients", "eigen_cam", "attention_rollout", "le_grad")
TWENTY: tuple[str | Metric, ...] = (
    *("insertion", "deletion", "pixel_flipping", "selectivity", "comprehensiveness", "sufficiency", "road"),
    *("faithfulness_correlation", "faithfulness_estimate", "sensitivity_n", "infidelity", "monotonicity"),
    *("completeness_gap", MaxSensitivity(samples=3), "parameter_randomization", "random_class"),
    *("energy_inside", "pointing_game", "rank_accuracy", "gini"),
)
"""Metrics of all families. Methods that take seconds are asked again as few times as makes sense."""
PARTS = Path("out/evaluation")
MORE = (
    *("data_randomization", "independent_randomization", "smooth_randomization", "efficient_randomization"),
    *("symmetry", "implementation_invariance"),
)


def case_of(name: str, n: int) -> Case:
    """Held-out scenes with their masks, judged by the probability of the true class."""
    flat = open_network(name)
    pictures, labels, masks = batch(SEED, n)
    x = flat.adapter.preprocessing.normalize(pictures / 255)
    targets = labels.tolist()
    return Case(flat, x, logit(targets), probability(targets), masks)


def metrics() -> str:
    """All metrics, from their fields."""
    lines = ["| metric | family | better | from | to | asks |", "|---|---|---|---|---|---|"]
    for name, metric in METRICS.items():
        low, high = (("" if abs(end) == float("inf") else f"{end:g}") for end in metric.bounds)
        asks = "" if metric.needs is None else ASKS.get(metric.needs, metric.needs)
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
        lines.append(f"| {name} | {' | '.join(cell(evaluation, method, metric) for metric in evaluation.metrics)} |")
    lines.append(
        f"| τ of halves | {' | '.join(f'{evaluation.agreement(metric):.2f}' for metric in evaluation.metrics)} |"
    )
    lines.append(f"| a control is best | {' | '.join(evaluation.beaten(metric) for metric in evaluation.metrics)} |")
    without = [names[0] for names in evaluation.why if len(names) == 1]
    return "\n".join([*lines, "", f"{len(evaluation)} scenes. Without meaning here: {', '.join(without) or 'none'}."])


def everything(n: int) -> dict[str, str]:
    """Of each bundled network, the table of all methods by twenty metrics."""
    jobs = [(bundled, name) for name in METHODS for bundled in BUNDLED]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(judge, bundled, name, n) for bundled, name in jobs]
        for future in tqdm(as_completed(running), total=len(running), disable=None):
            future.result()  # raises the error of the process
    return {
        bundled: table(evaluate(case_of(bundled, n), list(METHODS), TWENTY, parts=PARTS / bundled))
        for bundled in BUNDLED
    }


def judge(bundled: str, method: str, n: int) -> None:
    """Leave the scores of a method in the folder of a network."""
    torch.set_num_threads(1)
    evaluate(case_of(bundled, n), [method], TWENTY, controls=False, parts=PARTS / bundled)


def truths(n: int, neighbor: Path | None) -> str:
    """Grids, parts, random weights, shuffled labels and axioms, for methods that the bundled network has."""
    case = replace(case_of("shapes", n), shuffled=open_network("shapes_shuffled"))
    if neighbor is not None:
        other = architecture()
        other.load_state_dict(load_file(neighbor))
        case = replace(case, neighbor=FlatModel.from_nn_Module(other.eval()))
    flat, methods = case.flat, [name for name in QUICK if name not in SLOW_OR_ATTENTION]
    normalize = flat.adapter.preprocessing.normalize
    pictures, labels, _ = batch(SEED, 64)
    of_scenes = partial(grids, flat, normalize(pictures / 255), labels.tolist(), count=n // 4)
    assembled, classes, masks, without = parts.batch(parts.assembly, SEED, n)
    truth = ImageParts(masks, normalize(without.flatten(0, 1) / 255).unflatten(0, without.shape[:2]))
    cases = {
        "GridPG": (of_scenes(), "energy_inside"),
        "DiFull": (of_scenes(disconnected=True), "energy_inside"),
        "part_importance": (Case(flat, normalize(assembled / 255), logit(classes.tolist()), image_parts=truth), None),
        **dict.fromkeys(MORE, (case, None)),
    } | ({} if neighbor is None else {"seed_agreement": (case, None)})
    columns = {}
    for title, (one, metric) in tqdm(cases.items(), disable=None):
        judge = SmoothRandomization(stages=2, samples=5) if title == "smooth_randomization" else metric or title
        columns[title] = evaluate(one, methods, [judge]), metric or title
    first = next(evaluation for evaluation, _ in columns.values())
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    for method in first.methods:
        name = f"*{method}*" if method in first.controls else method
        lines.append(f"| {name} | {' | '.join(cell(evaluation, method, of) for evaluation, of in columns.values())} |")
    return "\n".join([*lines, "", f"{n} scenes or grids, for each column."])


def cell(evaluation: Evaluation, method: str, metric: str) -> str:
    """A mean, bold if it cannot be told apart from the best, where others can; empty if the metric means nothing."""
    one = evaluation.of(method, metric)
    if not one.n:
        return ""
    text = f"{one.mean:.{2 if abs(one.mean) < 100 else 0}f}"
    best, *others = evaluation.ranking(metric)
    tells = any(evaluation.differ(best, other, metric) for other in others)
    return f"**{text}**" if tells and not evaluation.differ(best, method, metric) else text


class Colored(nn.Module):
    """Makes a color picture of a gray one."""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)


def speed() -> str:
    """Paired times of four metrics beside Quantus at its best batch size."""
    import quantus as library

    quantus: Any = library  # its names are made when it is imported
    quiet = {"disable_warnings": True, "display_progressbar": False, "normalise": False, "abs": False}
    n, lines = (
        16,
        ["| metric | netlens, s | Quantus, s | times as fast | largest relative difference |", "|---|--:|--:|--:|--:|"],
    )
    # gray pictures, because in others Quantus counts each channel as a feature of its own
    module = nn.Sequential(Colored(), network()).eval()
    scenes = case_of("shapes", n)
    case = Case(FlatModel.from_nn_Module(module), scenes.x.mean(1, keepdim=True), scenes.explained)
    maps = torch.rand(n, *case.sides, generator=torch.Generator().manual_seed(0))
    whole = maps[:, ::16, ::16].repeat_interleave(16, 1).repeat_interleave(16, 2)
    targets = np.array(case.explained.targets(case.flat, n))
    pairs: list[tuple[str, Callable[[Explanation], Tensor], Callable[[], object], Tensor]] = [
        (
            "PixelFlipping, 256 pixels a step",
            lambda e: PixelFlipping(256, baselines=0.0).curve(e)[1],
            lambda: quantus.PixelFlipping(features_in_step=256, perturb_baseline=0.0, **quiet),
            maps,
        ),
        (
            "FaithfulnessEstimate, 256 pixels a part",
            FaithfulnessEstimate(256, baselines=0.0),
            lambda: quantus.FaithfulnessEstimate(features_in_step=256, perturb_baseline=0.0, **quiet),
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
                        a_batch=relevance[:, None].numpy(),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--only", choices=("metrics", "table", "truths", "speed", "all"))
    parser.add_argument("--neighbor", type=Path, help="weights of the bundled network from another seed (.safetensors)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only == "all":
        start = time.perf_counter()
        for bundled, text in everything(options.images).items():
            write_between(ALL, f"{bundled}_all", text)
        print(f"{(time.perf_counter() - start) / 60:.0f} minutes")
    if options.only in (None, "metrics"):
        write_between(PAGE, "metrics", metrics())
    if options.only in (None, "table"):
        for bundled in BUNDLED:
            case = case_of(bundled, options.images)
            names = [name for name in QUICK if name in METHODS]
            with shown() as show:
                evaluation = evaluate(case, names, JUDGES, progress=show)
            write_between(PAGE, bundled, table(evaluation))
    if options.only in (None, "truths"):
        write_between(PAGE, "truths", truths(options.images, options.neighbor))
    if options.only in (None, "speed"):
        write_between(PAGE, "speed", speed())


if __name__ == "__main__":
    main()
