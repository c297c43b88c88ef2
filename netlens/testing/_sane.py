"""The claim that a method shows what a network has learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.attribution import Method
from netlens.attribution.method import configured
from netlens.errors import NetLensWarning
from netlens.evaluation import Case, Explanation
from netlens.evaluation.metrics import ParameterRandomization
from netlens.flat import FlatModel
from netlens.lens import NetLens
from netlens.objectives import Objective
from netlens.options import checked
from netlens.show import Tile
from netlens.silence import silenced
from netlens.testing._claim import HIDDEN, Claim, Over
from netlens.testing._drawing import image_tile, map_tile


def assert_sane(
    method: Method | type[Method] | str,
    network: FlatModel | nn.Module,
    images: Any,
    correlation: float = 0.5,
    *,
    target: Any = None,
    objective: Objective | None = None,
    stages: int = 1,
    seeds: int = 3,
    over: Over = "mean",
    **options: Any,
) -> None:
    """Assert that a method shows what a network has learned: that its maps change when the weights are random.

    Measured is Spearman's rank correlation of the magnitudes of two maps: of the network, and of its copy with random
    weights (`netlens.evaluation.metrics.ParameterRandomization`), the mean over several seeds. A detector of edges,
    which knows nothing of the network, has 1. A map that is the same everywhere has no correlation and holds nothing.

    Args:
        method: The method, its class or name.
        network: The network, which stays as it is.
        images: The images, in any form that `NetLens` takes.
        correlation: The largest correlation, from -1 to below 1.
        target: The class to explain, as for `NetLens`; None for the predicted one.
        objective: What to explain, in place of a class.
        stages: In how many steps layers become random, from the output downwards, at least 1. The correlation is the
            mean over them. In the last one all are random, and 1 has no other.
        seeds: The number of seeds of random weights, at least 1.
        over: "mean" if the mean over the images must keep the bound; "each" if each image must.
        options: Options of the method.

    Raises:
        AssertionError: The maps stay. The message has the numbers and the file of a picture.
        NotApplicable: The method does not apply to the network, or the input is no picture.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> assert_sane("grad_cam", open_network(), scene(0, label=3).image)

    Adebayo et al. 2018, https://arxiv.org/abs/1810.03292
    """
    __tracebackhide__ = HIDDEN
    correlation = checked("correlation", correlation, float, least=-1, below=1)
    seeds = checked("seeds", seeds, int, least=1)
    over = checked("over", over, Over)
    chosen = configured(method, options)
    lens = NetLens(network, images, target, objective=objective)
    case = Case(lens.flat, lens.x, lens.objective)
    explanation = Explanation.of(case, chosen)
    tests = [ParameterRandomization(stages=stages, seed=seed) for seed in range(seeds)]
    values = torch.stack([test(explanation) for test in tests]).mean(0)
    constant = _constant(explanation.maps)
    values = torch.where(constant, torch.full_like(values, torch.nan), values)

    def rows(numbers: Sequence[int]) -> list[list[Tile]]:
        random = tests[0].randomized(case.flat)[-1]
        drawn = []
        for i in numbers:
            x, objective_of_one = case.x[i : i + 1], case.explained.take([i])
            with silenced(NetLensWarning):  # a random network may give nothing to see
                of_network, of_random = chosen(case.flat, x, objective_of_one), chosen(random, x, objective_of_one)
            drawn.append(
                [
                    image_tile(of_network.image, 0, of_network.subject(0)),
                    map_tile(of_network, 0, of_network.title, "the network"),
                    map_tile(of_random, 0, "random weights", f"correlation {float(values[i]):.3g}"),
                ]
            )
        return drawn

    name = type(chosen).__name__
    Claim(
        name="assert_sane",
        sentence=f"the maps of {name} change when the weights of {lens.flat.name} are random",
        quantity=f"the rank correlation with the maps of random weights, the mean over {seeds} seeds",
        values=values,
        bound=correlation,
        sign="≤",
        over=over,
        subjects=[lens.name_of(one) for one in lens.targets] or [repr(lens.objective)] * len(values),
        notes=["the map is the same everywhere, which says nothing" if one else "" for one in constant],
        rows=rows,
        look="If both maps show the same edges of the picture, the method shows the picture and not the network.",
    ).settle()


def _constant(maps: Tensor) -> Tensor:
    """(N,), bool: which maps are the same everywhere."""
    flat = maps.flatten(1)
    return (flat == flat[:, :1]).all(1)
