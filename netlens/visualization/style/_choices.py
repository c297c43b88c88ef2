"""The choices of a style transfer by name: statistics, parameterizations, optimizers, transforms, layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch.optim import LBFGS, Adam

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.flat.keys import LayerKey
from netlens.objectives import Contextual, Gram, Histogram, MeanStd, SlicedWasserstein, Statistic
from netlens.visualization._ascent import MakeOptimizer
from netlens.visualization.params import Fourier, Invertible, Pixel, Pyramid
from netlens.visualization.transforms import CenterCrop, Chain, Jitter, Pad, Transform, standard

Layers = LayerKey | Sequence[LayerKey] | Mapping[str, float]
"""Layers by any name that `FlatModel.keys_of` takes; a mapping gives their weights."""

STATISTICS: dict[str, Callable[[], Statistic]] = {
    "gram": Gram,
    "mean_std": MeanStd,
    "sliced_wasserstein": SlicedWasserstein,
    "histogram": Histogram,
    "contextual": Contextual,
}
PARAMS: dict[str, type[Invertible]] = {"pixel": Pixel, "fourier": Fourier, "pyramid": Pyramid}
TRANSFORMS: dict[str, Callable[[], Transform]] = {
    "none": Chain,
    "jitter": lambda: Chain((Pad(4, "reflect"), Jitter(4), CenterCrop(4))),
    # small moves, because the content is not moved with the picture
    "standard": lambda: standard(outside="reflect", jitter=8, degrees=10),
}
STARTS = ("content", "style", "noise")
OPTIMIZERS = ("lbfgs", "adam")
ITERATIONS = 20  # iterations of L-BFGS in one step of the renderer
HISTORY = 20  # steps that L-BFGS remembers


def optimizer_of(choice: str | MakeOptimizer, lr: float | None, steps: int) -> tuple[MakeOptimizer, int]:
    """The optimizer, and the number of steps of the renderer in which it makes `steps` iterations."""
    if not isinstance(choice, str):
        return choice, steps
    if choice == "adam":
        return partial(Adam, lr=0.05 if lr is None else lr), steps
    # the default tolerances are absolute: on networks with small gradients, they would end the search too early
    count = -(-steps // ITERATIONS)
    iterations = max(1, round(steps / count))
    rate = 1.0 if lr is None else lr
    exact = partial(LBFGS, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe")
    return partial(exact, lr=rate, max_iter=iterations, history_size=HISTORY), count


def weighed(flat: FlatModel, layers: Layers) -> dict[str, float]:
    """The weights of layers by exact key. If a name matches several layers, each of them has the weight of the name."""
    if not isinstance(layers, Mapping):
        return dict.fromkeys(flat.keys_of(layers), 1.0)
    weights: dict[str, float] = {}
    for name, weight in layers.items():
        weights |= dict.fromkeys(flat.keys_of(name), float(weight))
    if not any(weights.values()):
        raise NetLensError("all layers have the weight 0; give at least one a weight above 0.")
    return weights


def transforms_of(choice: str | Transform) -> Transform:
    """The transforms with this name. An object is returned unchanged."""
    return TRANSFORMS[choice]() if isinstance(choice, str) else choice


def shares(weights: Sequence[float] | None, n: int) -> tuple[float, ...]:
    """The weight of each of n styles; the weights sum to 1."""
    if weights is None:
        return (1 / n,) * n
    if len(weights) != n or not sum(weights) > 0:
        raise NetLensError(f"{n} style(s) need {n} style_weights, at least one of them above 0, not {weights!r}.")
    return tuple(weight / sum(weights) for weight in weights)
