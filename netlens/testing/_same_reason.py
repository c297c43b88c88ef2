"""The claim that two networks have the same reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens import heatmaps
from netlens.attribution import Attribution, Method
from netlens.errors import NetLensError
from netlens.evaluation.metrics import rank_correlation
from netlens.flat import FlatModel
from netlens.lens import NetLens
from netlens.objectives import Objective
from netlens.options import checked
from netlens.show import Tile
from netlens.testing._claim import HIDDEN, Claim, Over
from netlens.testing._drawing import image_tile, map_tile


def assert_same_reason(
    network_a: FlatModel | nn.Module,
    network_b: FlatModel | nn.Module,
    images: Any,
    correlation: float = 0.8,
    method: Method | type[Method] | str = "grad_cam",
    *,
    target: Any = None,
    objective: Objective | None = None,
    over: Over = "each",
    **options: Any,
) -> None:
    """Assert that two networks answer for the same reason: that their maps are alike, as before and after pruning.

    Both are asked about the same class: the one that the first network predicts, unless `target` names another.
    Measured is Spearman's rank correlation of the two maps over all pixels, with their signs if the method gives signs.
    A map that is the same everywhere has no correlation and holds nothing.

    Args:
        network_a: The first network, which stays as it is.
        network_b: The second one, with the same classes. Its images are preprocessed as it expects.
        images: The images, in any form that `NetLens` takes.
        correlation: The least correlation, above -1 and up to 1.
        method: The method, its class or name.
        target: The class to explain, as for `NetLens`.
        objective: What to explain, in place of a class.
        over: "each" if each image must keep the bound; "mean" if the mean over the images must.
        options: Options of the method.

    Raises:
        AssertionError: The maps differ. The message has the numbers and the file of a picture.
        NetLensError: The second network does not have the class.
        NotApplicable: The method has no map over the image.

    Example:
        >>> import copy
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> network = open_network()
        >>> assert_same_reason(network, copy.deepcopy(network), scene(0, label=3).image, 0.999)
    """
    __tracebackhide__ = HIDDEN
    correlation = checked("correlation", correlation, float, above=-1, most=1)
    over = checked("over", over, Over)
    lens = NetLens(network_a, images, target, objective=objective)
    a = lens.attribute(method, **options)
    b = _lens_of(network_b, images, lens, target, objective).attribute(method, lens.objective, **options)
    if len(a) != len(b):
        raise NetLensError(f"{lens.flat.name} has {len(a)} samples, but the other network {len(b)}.")
    if lens.flat.name == b.provenance.network:
        names = "the first network", "the second network"
    else:
        names = lens.flat.name, b.provenance.network
    maps = _map(a, None)
    others = _map(b, (maps.shape[1], maps.shape[2]))
    values = rank_correlation(maps.flatten(1), others.flatten(1))

    def rows(numbers: Sequence[int]) -> list[list[Tile]]:
        return [
            [
                image_tile(a.image, i, a.subject(i)),
                map_tile(a, i, a.title, names[0]),
                map_tile(b, i, f"correlation {float(values[i]):.3g}", names[1]),
            ]
            for i in numbers
        ]

    Claim(
        name="assert_same_reason",
        sentence=f"{names[0]} and {names[1]} have the same reason",
        quantity=f"the rank correlation of the maps of {a.title}",
        values=values,
        bound=correlation,
        sign="≥",
        over=over,
        subjects=[a.subject(i) for i in range(len(values))],
        notes=[
            "a map is the same everywhere, which says nothing" if bool(torch.isnan(value)) else "" for value in values
        ],
        rows=rows,
        look="Look for what is bright in one map only.",
    ).settle()


def _lens_of(
    network: FlatModel | nn.Module, images: Any, first: NetLens, target: Any, objective: Objective | None
) -> NetLens:
    """The same images in the second network, one row for each of the first."""
    if objective is not None or not first.targets:
        return NetLens(network, images, objective=first.objective)
    lens = NetLens(network, images, target if first.copies else None)
    classes, most = lens.logits.shape[1], max(first.targets)
    if most >= classes:
        raise NetLensError(
            f"{lens.flat.name} has {classes} classes, but is asked about class {most} of {first.flat.name}; two "
            "networks are compared on classes that both have."
        )
    return lens


def _map(attribution: Attribution, size: tuple[int, int] | None) -> Tensor:
    """(N, H, W), float64: the map, at the size of the image."""
    sign: heatmaps.Sign = "absolute_value" if attribution.reduction == "magnitude" else "all"
    heat = heatmaps.reduce(attribution.spatial.detach().cpu().double(), sign)
    if attribution.image is not None and size is None:
        size = (attribution.image.shape[-2], attribution.image.shape[-1])
    return heat[:, 0] if size is None else heatmaps.resize(heat, size)[:, 0]
