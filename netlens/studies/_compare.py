"""Compare: two networks of the same layers on one data set."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netlens.attribution.method import method_from
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.flat.intake import weight_of
from netlens.flat.keys import OUTPUT
from netlens.objectives import logit
from netlens.options import checked
from netlens.preprocessing import Preprocessing
from netlens.results import Attribution
from netlens.studies._both import Both, check_keys, ranked
from netlens.studies._cka import linear_cka
from netlens.studies._comparison import Comparison, LayerPair
from netlens.survey import State, Survey, SurveyResult

_MOST_BLOCKS = 24
"""The most layers that are compared if nobody names any."""


def compare(
    a: FlatModel,
    b: FlatModel,
    data: Any,
    layers: Sequence[str] | None = None,
    *,
    method: str = "grad_cam",
    pictures: int = 8,
    samples: int = 512,
    seed: int = 0,
    stitch: bool = True,
    preprocessing: Preprocessing | None = None,
    workers: int = 0,
    progress: bool = True,
) -> Comparison:
    """Compare two networks of the same layers: before and after fine-tuning, pruning, quantization; or another seed.

    Both run on the same inputs. Each layer gets four answers: how far its representation is from that of the other
    network (1 − linear CKA), what this part of the network changes by itself (`LayerPair.change`), the correlation and
    the statistics of each channel, and the accuracy of networks that are put together from both.

    CKA is computed from the activations at one random place of each of some random samples, with the unbiased
    estimator. So it needs no large matrices in memory, has no bias from layers with more channels than samples, and
    does not depend on how the data is sorted, as minibatches of a folder by class would. Everything else is computed on
    all samples and places, in float64.

    Args:
        a: The first network.
        b: The second network, on the same device. It has the layers of the first one, by key.
        data: What a survey takes: a folder, a CSV file, a list of files, or a data set of torch.
        layers: The layers, by any name; None for the last layer of each block with weights, at most 24 of them.
        method: The method that explains pictures on which the networks disagree, by name.
        pictures: The number of such pictures, at least 0.
        samples: The number of samples for CKA, at least 4.
        seed: Another seed: other samples and places for CKA.
        stitch: Whether to put the networks together, which takes about as many forward runs as there are layers.
        preprocessing: How a picture becomes an input; None for that of the first network.
        workers: The number of processes; 0 for this one. They change nothing but the time.
        progress: Whether a terminal shows a progress bar.

    Raises:
        NetLensError: The second network lacks a layer, or no sample can be read.
        NotApplicable: The networks do not give one score of each class per sample.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> flat = open_network()
        >>> data = [(scene(i, 64, label=i).image, i) for i in range(4)]
        >>> same = compare(flat, flat, data, ["stem", "trunk_output.block2"], progress=False)
        >>> [(pair.distance, pair.change) for pair in same.layers], same.agreement
        ([(0.0, 0.0), (0.0, 0.0)], 1.0)

    Kornblith et al. 2019, https://arxiv.org/abs/1905.00414; Nguyen et al. 2021, https://arxiv.org/abs/2010.15327;
    Bansal et al. 2021, https://arxiv.org/abs/2106.07682
    """
    for name, flat in (("the first network", a), ("the second network", b)):
        checked(name, flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
        flat.follow()
    samples = checked("samples", samples, int, least=4)
    pictures = checked("pictures", pictures, int, least=0)
    seed = checked("seed", seed, int, least=0, most=2**31 - 1)
    method_from(method)  # a wrong name raises here, and not after a long run
    keys = blocks(a) if layers is None else [key for key in a.keys_of(list(layers)) if key not in (*a.inputs, OUTPUT)]
    keys = [key for key in a.layers if key in keys]
    if not keys:
        raise NetLensError("there is no layer to compare; give layers=.")
    check_keys(b, keys)
    question = Both(copy.deepcopy(b), tuple(keys), samples, pictures, seed, stitch)
    result = Survey(a, data, [question], workers=workers, preprocessing=preprocessing, progress=progress).run()
    state: State = result.answer(question)
    if not state:
        raise NetLensError(f"none of the {len(result)} pictures can be read; the first: {result.unreadable[0].reason}")
    order = state["samples"].argsort()
    by_sample = {name: state[name][order] for name in ("samples", "labels")}
    names, explained = _disagreements(a, b, result, state, method, pictures)
    return Comparison(
        a=a.name,
        b=b.name,
        layers=tuple(_pair(state, index, key) for index, key in enumerate(keys)),
        **by_sample,
        predicted=torch.stack([state["predicted_a"][order], state["predicted_b"][order]]),
        confidence=torch.stack([state["confidence_a"][order], state["confidence_b"][order]]),
        disagreeing=names,
        explained_a=explained[0],
        explained_b=explained[1],
        unreadable=len(result.unreadable),
    )


def blocks(flat: FlatModel) -> list[str]:
    """The last layer of each block with weights: of the modules at the deepest level that has at most 24 of them."""
    reached = flat.program.reached(flat.inputs)  # a class token, for one, is the same for all samples
    keys = [key for key in flat.layers if key in reached]
    weighted = [key for key in keys if next(flat.layers[key].parameters(), None) is not None]
    deepest = max((key.count(".") + 1 for key in weighted), default=0)
    last_keys: list[str] = []
    for depth in range(1, deepest + 1):
        paths = dict.fromkeys(".".join(key.split(".")[:depth]) for key in weighted)
        if depth > 1 and len(paths) > _MOST_BLOCKS:
            break
        lasts = {".".join(key.split(".")[:depth]): key for key in keys}
        last_keys = [lasts[path] for path in paths]
    return last_keys


def _pair(state: State, index: int, key: str) -> LayerPair:
    of = {name.partition(".")[2]: one for name, one in state.items() if name.startswith(f"{index}.")}
    labeled, n = int((state["labels"] >= 0).sum()), len(state["labels"])
    count_a, count_b = of["count_a"], of["count_b"]
    spread = of["squares_a"].sum()
    change = of.get("own")
    means, deviations = (
        _side_by_side(of["mean_a"], of["mean_b"]),
        _side_by_side((of["squares_a"] / count_a).sqrt(), (of["squares_b"] / count_b).sqrt()),
    )

    def share(name: str, of_all: int) -> float:
        return float(of[name]) / of_all if name in of and of_all else math.nan

    return LayerPair(
        layer=key,
        distance=1 - linear_cka(of["vectors_a"], of["vectors_b"]),
        change=math.nan if change is None else 0.0 if float(change) == 0 else float((change / spread).sqrt()),
        means=means,
        deviations=deviations,
        correlation=_correlation(of),
        swapped=share("swapped_right", labeled),
        swapped_same=share("swapped_same", n),
        stitched=share("stitched_right", labeled),
        stitched_same=share("stitched_same", n),
    )


def _correlation(of: dict[str, Tensor]) -> Tensor:
    """(C,): the correlation of each channel; 1 where both are the same constant."""
    if "products" not in of:
        return torch.zeros(0, dtype=torch.float64)
    correlation = of["products"] / (of["squares_a"] * of["squares_b"]).sqrt()
    constant = (of["squares_a"] == 0) & (of["squares_b"] == 0) & (of["mean_a"] == of["mean_b"])
    return torch.where(constant, torch.ones_like(correlation), correlation)


def _side_by_side(a: Tensor, b: Tensor) -> Tensor:
    both = torch.full((2, max(len(a), len(b))), torch.nan, dtype=torch.float64)
    both[0, : len(a)], both[1, : len(b)] = a, b
    return both


def _disagreements(
    a: FlatModel, b: FlatModel, result: SurveyResult, state: State, method: str, pictures: int
) -> tuple[tuple[str, ...], tuple[Attribution | None, Attribution | None]]:
    """The names of pictures on which the networks disagree, and why each predicts what it does."""
    chosen = [(sample, state[f"x.{sample}"]) for sample in ranked(state)[:pictures]]
    chosen = [(sample, x) for sample, x in chosen if x.shape == chosen[0][1].shape]  # a batch has one size
    if not chosen:
        return (), (None, None)
    x = torch.stack([one for _, one in chosen])
    rows = [int((state["samples"] == sample).nonzero()[0]) for sample, _ in chosen]
    explained = [
        method_from(method)(flat, x.to(weight_of(flat, x)), logit(state[name][rows].tolist()))
        for flat, name in ((a, "predicted_a"), (b, "predicted_b"))
    ]
    return tuple(result.names[sample] for sample, _ in chosen), (explained[0], explained[1])
