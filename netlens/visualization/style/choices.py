"""What can be chosen by name in a style transfer: statistics, parameterizations, optimizers, transforms, layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch.optim import LBFGS, Adam

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.flat.keys import LayerKey
from netlens.objectives import Contextual, Gram, Histogram, MeanStd, SlicedWasserstein, Statistic
from netlens.visualization.ascent import MakeOptimizer
from netlens.visualization.params import Fourier, Pixel, Pyramid
from netlens.visualization.params.invertible import Invertible
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
    # near the content, which is not moved with the picture
    "standard": lambda: standard(outside="reflect", jitter=8, degrees=10),
}
STARTS = ("content", "style", "noise")
OPTIMIZERS = ("lbfgs", "adam")
ITERATIONS = 20  # of L-BFGS in one step of the renderer
HISTORY = 20  # steps that L-BFGS remembers


def optimizer_of(choice: str | MakeOptimizer, lr: float | None, steps: int) -> tuple[MakeOptimizer, int]:
    """The optimizer, and the number of steps of the renderer that make `steps` iterations of it."""
    if not isinstance(choice, str):
        return choice, steps
    if choice == "adam":
        return partial(Adam, lr=0.05 if lr is None else lr), steps
    # its own tolerances are absolute, and would end the search on networks of small gradients
    count = -(-steps // ITERATIONS)
    iterations = max(1, round(steps / count))
    rate = 1.0 if lr is None else lr
    exact = partial(LBFGS, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe")
    return partial(exact, lr=rate, max_iter=iterations, history_size=HISTORY), count


def weighed(flat: FlatModel, layers: Layers) -> dict[str, float]:
    """Exact keys and their weights; a name that names several layers gives its weight to each."""
    if not isinstance(layers, Mapping):
        return dict.fromkeys(flat.keys_of(layers), 1.0)
    weights: dict[str, float] = {}
    for name, weight in layers.items():
        weights |= dict.fromkeys(flat.keys_of(name), float(weight))
    if not any(weights.values()):
        raise NetLensError("all layers have weight 0; name one at least that counts.")
    return weights


def transforms_of(choice: str | Transform) -> Transform:
    """The transforms of a name; an object is returned as it is."""
    return TRANSFORMS[choice]() if isinstance(choice, str) else choice


def shares(weights: Sequence[float] | None, n: int) -> tuple[float, ...]:
    """The weight of each of n styles; they sum to 1."""
    if weights is None:
        return (1 / n,) * n
    if len(weights) != n or not sum(weights) > 0:
        raise NetLensError(f"{n} style(s) take {n} style_weights, of which one is above 0, not {weights!r}.")
    return tuple(weight / sum(weights) for weight in weights)
