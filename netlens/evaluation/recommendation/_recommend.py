"""Recommend: a staged search for the method and the options that a metric likes best on some images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from netlens.attribution import Attribution, Method
from netlens.errors import NetLensError, NetLensWarning
from netlens.evaluation._bootstrap import shares_of_wins, told_apart
from netlens.evaluation._case import Case
from netlens.evaluation._evaluate import judges_of
from netlens.evaluation._judging import Judging
from netlens.evaluation._progress import Progress, Step
from netlens.evaluation._table import Evaluation
from netlens.evaluation.metrics import METRICS, Metric
from netlens.evaluation.recommendation._contestants import Contestant, contestants, controls, variants
from netlens.evaluation.recommendation._race import Race
from netlens.evaluation.recommendation._recommendation import Recommendation
from netlens.options import checked
from netlens.silence import silenced
from netlens.version import __version__

WITH_MASKS = ("energy_inside", "deletion", "insertion", "pointing_game", "random_class", "parameter_randomization")
"""The metrics if there are masks. The first decides: a mask says what caused the class, and nothing is guessed."""
WITHOUT_MASKS = ("deletion", "insertion", "random_class", "parameter_randomization")
"""The metrics if there are none. The first decides: deletion into a blur, whose ranking of methods is that of the masks
in most pairs where both exist (docs/evaluation.md), and which needs 33 runs for an image and no other library."""


def recommend(
    case: Case,
    methods: Sequence[Method | type[Method] | str] | None = None,
    metrics: Sequence[Metric | type[Metric] | str] | None = None,
    *,
    tuned: int = 3,
    shown: int = 3,
    pictures: int = 4,
    seed: int = 0,
    progress: Progress = lambda step: None,
    parts: str | Path | None = None,
) -> Recommendation:
    """Find the method and the options that explain a network best on some images, by a metric.

    1. Cheap methods race beside the controls: on 8 images, then on twice as many each time. Who is worse than the best
       method leaves, as soon as the 99 % bootstrap interval of the mean difference on the same images says so.
    2. Slow methods enter and race against the leaders.
    3. The options of the best few methods race: layers, baselines, noise, rules, windows. The worse half leaves each
       time that the number of images doubles, and so does who is worse than the best method.
    4. The best few and the controls are judged on all images by all metrics, side by side. Only the first metric
       decides, and nothing is averaged over metrics.

    Args:
        case: The images, and what is explained.
        methods: Methods, their classes, or texts such as `occlusion:window=16`; None for the usual ones, without those
            that take thousands of runs.
        metrics: Metrics, their classes or names. The first decides. None for `energy_inside` if there are masks, else
            for `deletion`, with some others beside it.
        tuned: Of how many methods the options race.
        shown: How many of the best are judged by all metrics.
        pictures: On how many images they are drawn.
        seed: The seed of the order of the images.
        progress: A function that is called with a `Step` before each contestant.
        parts: A folder in which the scores stay, so that a call that was interrupted goes on where it stopped.

    Raises:
        NetLensError: A method or a metric is unknown, or no method applies to the network.

    Example:
        >>> from netlens.objectives import logit
        >>> from netlens.world.scene import batch
        >>> from netlens.zoo import open_network
        >>> flat = open_network()
        >>> pictures, labels, masks = batch(7, 4)
        >>> x = flat.adapter.preprocessing.normalize(pictures / 255)
        >>> case = Case(flat, x, logit(labels.tolist()), masks=masks)
        >>> best = recommend(case, ["grad_cam", "saliency"], ["energy_inside"], tuned=0)
        >>> best.method, best.options
        ('grad_cam', {})

    Maron and Moore 1994, https://papers.nips.cc/paper/841; Jamieson and Talwalkar 2016,
    https://arxiv.org/abs/1502.07943
    """
    tuned, shown = checked("tuned", tuned, int, least=0), checked("shown", shown, int, least=1)
    pictures, seed = checked("pictures", pictures, int, least=0), checked("seed", seed, int, least=0)
    usual = WITHOUT_MASKS if case.masks is None else WITH_MASKS
    judges = judges_of(usual if metrics is None else metrics)
    if not judges:
        raise NetLensError("metrics names no metric; give some, or None for the usual ones.")
    metric, judge = next(iter(judges.items()))
    cheap, slow = contestants(methods)
    judging = Judging(case, parts)
    if judging.holds_rows([judge, *(one.method for one in (*cheap, *slow))]):
        raise NetLensError(
            "an option holds a tensor with a row for each image, which a race over some images cannot cut."
        )
    stage, done, total = "", 0, 0

    def scores(one: Contestant, rows: Sequence[int]) -> Tensor | str:
        nonlocal done
        number, count = len(race.everyone), len(cheap) + len(slow) + len(rivals)
        progress(Step(f"{stage}: {one.name}", metric, (number, max(number, count)), (1, len(judges)), done, total))
        judged = judging(one.name, one.method, {metric: judge}, rows)
        done += len(rows)
        seconds[one.name] = judged.seconds
        return next(iter(judged.why.values())) if judged.why else judged.scores[0]

    race = Race(scores, len(case), METRICS[metric].more_is_better, seed)
    seconds: dict[str, float] = {}
    rivals = controls()
    racing: list[Contestant] = []
    for stage, entering in (("methods", [*cheap, *rivals]), ("slow methods", slow)):
        done, total = 0, len(entering) * len(case)
        racing = race.run(stage, entering, racing) if entering else racing
    leaders = [one for one in racing if not one.is_control]
    if not leaders:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in race.why.items())
        raise NetLensError(f"no method can be judged by {metric}. {reasons}")
    # a method that lost with its usual options may win with others
    able = [one for one in (*cheap, *slow) if one.name not in race.why]
    for one in race.ranked(able, len(race.shared()))[:tuned]:
        entering = variants(one, case.flat, min(case.sides))
        stage, done, total = f"options of {one.name}", 0, len(entering) * len(case)
        racing += race.halve(stage, entering, leaders[0]) if entering else []
    finalists = race.ranked(one for one in racing if not one.is_control)
    best, few = finalists[0], _few(race, finalists, shown)
    stage, done, total = "the best few and the controls", 0, (len(few) + len(rivals)) * len(case)
    race.finish([*few, *rivals])

    others = {name: one for name, one in judges.items() if name != metric}
    rows = [*few, *(one for one in rivals if one.name not in race.why)]
    table = torch.full((len(rows), len(judges), len(case)), torch.nan, dtype=torch.float64)
    why: dict[tuple[str, ...], str] = {(name,): reason for name, reason in race.why.items()}
    for i, one in enumerate(rows):
        table[i, 0] = race.scores[one.name]

        def on_block(name: str, n: int, i: int = i, one: Contestant = one) -> None:
            j, m = list(others).index(name), len(others)
            at = i * m * len(case) + m * n + j
            progress(
                Step(
                    f"side by side: {one.name}", name, (i + 1, len(rows)), (j + 2, m + 1), at, len(rows) * m * len(case)
                )
            )

        if others:
            judged = judging(one.name, one.method, others, on_block=on_block)
            table[i, 1:] = judged.scores
            why |= {(one.name, name) if name else (one.name,): reason for name, reason in judged.why.items()}

    provenance = {
        "network": case.flat.name,
        "images": len(case),
        "explained": repr(case.explained),
        "judged": repr(case.explained if case.judged is None else case.judged),
        "metrics": {name: repr(one) for name, one in judges.items()},
        "seed": seed,
        "first": race.first,
        "level": race.level,
        "tuned": tuned,
        "versions": {"netlens": __version__, "torch": str(torch.__version__)},
    }

    def evaluation(names: Sequence[Contestant], metrics: Sequence[str], values: Tensor) -> Evaluation:
        times = torch.tensor([seconds.get(one.name, torch.nan) for one in names], dtype=torch.float64)
        rivals_here = tuple(one.name for one in names if one.is_control)
        return Evaluation(tuple(one.name for one in names), rivals_here, tuple(metrics), values, times, why, provenance)

    everyone = [one for one in race.everyone.values() if one.name not in race.why]
    each = torch.stack([race.scores[one.name] for one in everyone])[:, None]
    shared = evaluation(everyone, [metric], each[..., race.shared()])
    return Recommendation(
        network=case.flat.name,
        metric=metric,
        text=best.name,
        rounds=tuple(race.rounds),
        ties=tuple(one.name for one in finalists[1:] if not told_apart(race.signed(best) - race.signed(one))),
        wins=_wins(race, [one for one in everyone if race.judged[one.name] == len(case)]),
        agreement=shared.agreement(metric) if race.shared() else float("nan"),
        table=evaluation(rows, list(judges), table),
        race=evaluation(everyone, [metric], each),
        provenance=provenance,
        maps=_maps(case, race, [*few, *race.ranked(rows[len(few) :])[:1]], pictures),
        explainer=best.method,
    )


def _few(race: Race, finalists: Sequence[Contestant], count: int) -> list[Contestant]:
    """The best contestant of each of the best methods: those that were judged on all images, then those that left."""
    others = [one for one in race.everyone.values() if not one.is_control and one.name not in race.why]
    least = min(race.judged[one.name] for one in others)
    best: dict[type[Method], Contestant] = {}
    for one in (*finalists, *race.ranked(others, least)):
        best.setdefault(type(one.method), one)
    return list(best.values())[:count]


def _wins(race: Race, contestants: Sequence[Contestant]) -> dict[str, float]:
    scores = torch.stack([race.signed(one) for one in contestants])
    scores = scores[:, ~scores.isnan().any(0)]
    if not scores.shape[1]:
        return {}
    return dict(zip((one.name for one in contestants), shares_of_wins(scores), strict=True))


def _maps(case: Case, race: Race, contestants: Sequence[Contestant], pictures: int) -> list[Attribution]:
    """The maps of the best few and of the best control, on the first images of the order."""
    rows = race.order[:pictures]
    if not rows:
        return []
    images = case.take(rows)
    with silenced(NetLensWarning):  # that a map is empty is there to see
        return [one.method(case.flat, images.x, images.explained) for one in contestants]
