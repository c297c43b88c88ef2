"""Evaluate: several methods, judged by several metrics on the same images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from netlens.attribution import Attribution, Method
from netlens.attribution.method import configured
from netlens.errors import NetLensError, NetLensWarning, NonFiniteError, NotApplicable
from netlens.evaluation._case import Case
from netlens.evaluation._controls import CONTROLS
from netlens.evaluation._explanation import Explanation
from netlens.evaluation._table import Evaluation
from netlens.evaluation.metrics import Metric, metric_name, metric_named
from netlens.silence import silenced

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
    metrics: Sequence[Metric | type[Metric] | str] = METRICS_BY_DEFAULT,
    controls: bool = True,
    progress: Callable[[str], object] = lambda name: None,
) -> Evaluation:
    """Judge several methods by several metrics on the same images.

    All metrics of a method share its explanation and the runs on changed images that they have in common. A metric that
    means nothing for a method has NaN there, and `why` says why.

    Args:
        case: The images, and what is explained.
        methods: Methods, their classes or names; attributions, or arrays (N, H, W) or (N, C, H, W) from anywhere. A
            mapping gives them names.
        metrics: Metrics, their classes or names.
        controls: Whether controls, which know nothing of the network, are judged too.
        progress: A function that is called with the name of each method before it is judged.

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
    judges = _judges(metrics)
    sources = _sources(methods)
    source_names = list(sources)
    if controls:
        sources |= {control.__name__: control() for control in CONTROLS}
    scores = torch.full((len(sources), len(judges), len(case)), torch.nan, dtype=torch.float64)
    seconds = torch.full((len(sources),), torch.nan, dtype=torch.float64)
    why: dict[tuple[str, ...], str] = {}
    for i, (name, source) in enumerate(sources.items()):
        progress(name)
        start = time.process_time()
        try:
            with silenced(NetLensWarning):  # the metrics show whether a method finds nothing
                explanation = Explanation.of(case, source, name)
        except (NotApplicable, NonFiniteError) as error:
            why[(name,)] = str(error)
            continue
        if isinstance(source, Method):
            seconds[i] = (time.process_time() - start) / len(case)
        for j, (metric, judge) in enumerate(judges.items()):
            try:
                scores[i, j] = judge(explanation)
            except (NotApplicable, NonFiniteError) as error:
                why[(name, metric)] = str(error)
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


def _judges(metrics: Sequence[Metric | type[Metric] | str]) -> dict[str, Metric]:
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
