"""Evaluate: several methods, judged by several metrics on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netlens.attribution import Attribution, Method
from netlens.attribution.method import configured
from netlens.errors import NetLensError
from netlens.evaluation._case import Case
from netlens.evaluation._controls import CONTROLS
from netlens.evaluation._judging import BLOCK, Judging
from netlens.evaluation._progress import Progress, Step
from netlens.evaluation._table import Evaluation
from netlens.evaluation.metrics import METRICS, Metric, metric_name, metric_named

METRICS_BY_DEFAULT = (
    "insertion",
    "deletion",
    "road",
    "faithfulness_correlation",
    "max_sensitivity",
    "parameter_randomization",
    "random_class",
    "energy_inside",
    "pointing_game",
    "gini",
)
"""One or two of each family, which together take about 200 runs of the network for each image."""

Source = Method | type[Method] | str | Attribution | Tensor | Any


def evaluate(
    case: Case,
    methods: Sequence[Source] | Mapping[str, Source],
    metrics: Sequence[Metric | type[Metric] | str] | None = None,
    controls: bool = True,
    progress: Progress = lambda step: None,
    parts: str | Path | None = None,
) -> Evaluation:
    """Judge several methods by several metrics on the same images.

    All metrics of a method share its explanation and the runs on changed images that they have in common. A metric that
    means nothing for a method has NaN there, and `why` says why. Images are judged in blocks of 16.

    Args:
        case: The images, and what is explained.
        methods: Methods, their classes or names; attributions, or arrays (N, H, W) or (N, C, H, W) from anywhere. A
            mapping gives them names.
        metrics: Metrics, their classes or names; None for those of `METRICS_BY_DEFAULT` for which the case has masks.
        controls: Whether controls, which know nothing of the network, are judged too.
        progress: A function that is called with a `Step` before each metric of each method.
        parts: A folder in which the scores stay, so that a call that was interrupted goes on where it stopped. A score
            is found again only if nothing that it depends on has changed: the method and the metric with their
            options, the images and masks, what is explained, the network with its weights and preprocessing, and the
            versions of the software. None to keep nothing.

    Raises:
        NetLensError: A method or a metric is unknown, or two have one name.

    Example:
        >>> from netlens.objectives import logit
        >>> from netlens.world.scene import batch
        >>> from netlens.zoo import open_network
        >>> flat = open_network()
        >>> pictures, labels, masks = batch(7, 4)
        >>> x = flat.adapter.preprocessing.normalize(pictures / 255)
        >>> case = Case(flat, x, logit(labels.tolist()), masks=masks)
        >>> table = evaluate(case, ["grad_cam", "saliency"], ["pointing_game", "gini"], controls=False)
        >>> table.of("GradCAM", "pointing_game").mean
        1.0
    """
    if metrics is None:
        metrics = [name for name in METRICS_BY_DEFAULT if case.masks is not None or METRICS[name].needs != "masks"]
    judges = judges_of(metrics)
    sources = _sources(methods)
    source_names = list(sources)
    if controls:
        sources |= {control.__name__: control() for control in CONTROLS}
    judging = Judging(case, parts)
    scores = torch.full((len(sources), len(judges), len(case)), torch.nan, dtype=torch.float64)
    seconds = torch.full((len(sources),), torch.nan, dtype=torch.float64)
    why: dict[tuple[str, ...], str] = {}
    for i, (name, source) in enumerate(sources.items()):

        def on_block(metric: str, n: int, i: int = i, name: str = name) -> None:
            j, m = list(judges).index(metric), len(judges)
            # the metrics before this one have their scores of the block already
            done = i * m * len(case) + m * n + j * min(BLOCK, len(case) - n)
            progress(Step(name, metric, (i + 1, len(sources)), (j + 1, m), done, len(sources) * m * len(case)))

        judged = judging(name, source, judges, on_block=on_block)
        scores[i], seconds[i] = judged.scores, judged.seconds
        why |= {(name, metric) if metric else (name,): reason for metric, reason in judged.why.items()}
    provenance = {
        "network": case.flat.name,
        "images": len(case),
        "explained": repr(case.explained),
        "judged": repr(case.explained if case.judged is None else case.judged),
        "metrics": {name: _options(judge) for name, judge in judges.items()},
        "options": {name: repr(source) for name, source in sources.items() if isinstance(source, Method)},
    }
    names = tuple(sources)
    return Evaluation(names, names[len(source_names) :], tuple(judges), scores, seconds, why, provenance)


def judges_of(metrics: Sequence[Metric | type[Metric] | str]) -> dict[str, Metric]:
    """The metrics by name. A metric that is unknown or given twice raises `NetLensError`."""
    judges: dict[str, Metric] = {}
    for metric in metrics:
        judge = metric_named(metric) if isinstance(metric, str) else metric
        judge = judge() if isinstance(judge, type) and issubclass(judge, Metric) else judge
        if not isinstance(judge, Metric):
            raise NetLensError(f"a metric is a Metric, its class or its name, such as 'deletion', not {metric!r}.")
        if metric_name(type(judge)) in judges:
            raise NetLensError(
                f"the metric {metric_name(type(judge))} is given twice; evaluate them one after the other."
            )
        judges[metric_name(type(judge))] = judge
    return judges


def _sources(methods: Sequence[Source] | Mapping[str, Source]) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    pairs = methods.items() if isinstance(methods, Mapping) else [("", one) for one in methods]
    for name, one in pairs:
        source = configured(one, {}) if isinstance(one, str | type) else one
        title = name
        if not title:
            title = type(source).__name__ if isinstance(source, Method) else getattr(source, "title", "given")
        if title in sources:
            raise NetLensError(f"two methods are called {title}; give a mapping with names.")
        sources[title] = source
    return sources


def _options(judge: Metric) -> dict[str, Any]:
    return {name: repr(value) if isinstance(value, Tensor) else value for name, value in asdict(judge).items()}
