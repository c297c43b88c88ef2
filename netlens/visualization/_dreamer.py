"""NetDreamer: pictures of the channels, neurons, classes and layers of a network, with one call each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Objective, channel, diversity, layer, log_probability, logit, neuron
from netlens.objectives.classes import classes_of
from netlens.options import check, checked, option
from netlens.results import Render
from netlens.results.row import row
from netlens.visualization._caption import layer_caption
from netlens.visualization._dataset import Examples, Folder, most_exciting
from netlens.visualization._optvis import MOST_STEPS, OptVis, check_options
from netlens.visualization.params import Fourier, Size, Sized, made_by
from netlens.visualization.picture import expected_size
from netlens.visualization.transforms import Transform, cropped, standard

Indices = int | Sequence[int]


@dataclass(frozen=True)
class NetDreamer:
    """Pictures that excite channels, neurons, classes and layers of a network, with captions.

    All pictures of a call start from the same seed, so that only their objectives differ.

    >>> from netlens.zoo import open_network
    >>> dreamer = NetDreamer(open_network(), size=32, steps=2, progress=False)
    >>> dreamer.channel("stem", [0, 3]).captions
    ('stem:0', 'stem:3')
    """

    flat: FlatModel = option(help="The network.")
    size: Size | None = option(
        None, least=1, help="A side in pixels, or height and width; by default the size that the network expects."
    )
    steps: int = option(256, least=1, most=MOST_STEPS, help="Steps of the optimization.")
    seed: int = option(0, least=0, help="Seed of the noise from which pictures start.")
    param: type[Sized] | Sized = option(Fourier, help="The parameterization of the picture.")
    transforms: Transform | None = option(
        None, help="The disturbances; by default `cropped()` for classes, else `standard()`."
    )
    progress: bool = option(True, help="Whether a terminal shows the progress.")
    options: Mapping[str, Any] = option(factory=dict, help="Other options of `OptVis.render`, by name.")

    def __post_init__(self) -> None:
        check(self)
        check_options(self.options)

    def channel(self, key: str, index: Indices) -> Render:
        """Pictures that excite a channel of a layer, averaged over all positions; or several channels, as one batch."""
        indices = _index_list(index)
        return self.render(channel(key, indices), [f"{self._caption(key)}:{i}" for i in indices])

    def neuron(self, key: str, index: Indices, y: int | None = None, x: int | None = None) -> Render:
        """Pictures that excite a channel at one position of the map; by default in the middle."""
        indices = _index_list(index)
        y, x = (None if coordinate is None else checked("a position", coordinate, int) for coordinate in (y, x))
        position = (
            "middle" if y is None and x is None else f"{'middle' if y is None else y},{'middle' if x is None else x}"
        )
        return self.render(neuron(key, indices, y, x), [f"{self._caption(key)}:{i} at {position}" for i in indices])

    def classes(self, target: int | str | Sequence[int | str]) -> Render:
        """Pictures that excite a class, given by index or name; or several classes.

        The objective is the score plus the logarithm of the probability. With the score alone, a picture may contain
        patterns that raise the scores of all classes.
        """
        plain = target.tolist() if isinstance(target, np.ndarray | np.generic | Tensor) else target
        targets = list(plain) if isinstance(plain, Iterable) and not isinstance(plain, str) else [plain]
        if not targets:
            raise NetLensError("no class was given; give at least one.")
        indices = list(classes_of(targets, self.flat, len(targets)))
        names = self.flat.classes
        captions = [
            f"class {i}" if names is None or not 0 <= i < len(names) else names[i].split(",")[0] for i in indices
        ]
        return self._rendered(
            logit(indices) + log_probability(indices), captions, (self.seed,) * len(captions), cropped()
        )

    def layer(self, key: str) -> Render:
        """A picture that excites a whole layer: the objective of DeepDream, from noise."""
        return self.render(layer(key), [self._caption(key)])

    def negative(self, key: str, index: Indices) -> Render:
        """Pictures that inhibit a channel most. Choose a layer before a rectifier: after it, no value is below 0."""
        indices = _index_list(index)
        return self.render(-channel(key, indices), [f"{self._caption(key)}:{i} negative" for i in indices])

    def both(self, key: str, index: Indices) -> Render:
        """The negative and the positive picture of each channel, side by side."""
        low, high = self.negative(key, index), self.channel(key, index)
        return row(*(render for pair in zip(low, high, strict=True) for render in pair))

    def diverse(self, key: str, index: int, n: int = 4, weight: float = 1.0) -> Render:
        """A row of n different pictures that all excite one channel.

        Args:
            key: The layer.
            index: The channel, from 0.
            n: The number of pictures, from 2 to 1,000.
            weight: The weight of the difference between the pictures (see `objectives.diversity`), relative to the
                value that the channel reaches without it.
        """
        index, weight = checked("a channel", index, int), checked("weight", weight, float)
        n = checked("the number of different pictures", n, int, least=2, most=1000)
        plain = self.render(channel(key, index), [""])
        strength = float(plain.history[-1].abs().mean())
        objective = channel(key, index) - weight * strength * diversity(key)
        return self.render(
            objective, [f"{self._caption(key)}:{index} · {i + 1}" for i in range(n)], range(self.seed, self.seed + n)
        )

    def examples(self, key: str, index: int, folder: Folder, k: int = 8, crops: bool = True) -> Examples:
        """The images of a folder, or crops of them, that excite a channel most, and the picture of this channel."""
        index = checked("a channel", index, int)
        examples = most_exciting(self.flat, channel(key, index), folder, k, crops)
        return replace(examples, picture=self.channel(key, index))

    def render(self, objective: Objective, captions: Sequence[str], seeds: Sequence[int] | None = None) -> Render:
        """Pictures for any objective, one for each caption."""
        all_seeds = (self.seed,) * len(captions) if seeds is None else tuple(seeds)
        return self._rendered(objective, captions, all_seeds, standard())

    def _caption(self, key: str) -> str:
        return layer_caption(self.flat, key)

    def _rendered(
        self, objective: Objective, captions: Sequence[str], seeds: Sequence[int], default_transforms: Transform
    ) -> Render:
        """Render an objective. `default_transforms` are used if the option `transforms` is None."""
        size = expected_size(self.flat) if self.size is None else self.size
        param = made_by(self.param, size=size, batch=len(captions), seed=seeds)
        vis = OptVis(self.flat, objective, default_transforms if self.transforms is None else self.transforms)
        render = vis.render(param, steps=self.steps, progress=self.progress, **self.options)
        return replace(render, captions=tuple(captions))


def _index_list(index: Indices) -> list[int]:
    indices = checked("a channel", index, int | Sequence[int])
    indices = [indices] if isinstance(indices, int) else list(indices)
    if not indices:
        raise NetLensError("no channel was given; give at least one.")
    return indices
