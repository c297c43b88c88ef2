"""The claim that a network looks at a region."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from netlens.attribution import Method
from netlens.errors import NetLensError, NetLensWarning
from netlens.evaluation import share_inside
from netlens.lens import NetLens
from netlens.objectives import Objective
from netlens.options import checked
from netlens.show import Tile
from netlens.testing._claim import HIDDEN, Claim, Over
from netlens.testing._drawing import image_tile, map_tile
from netlens.testing._regions import regions_of


def assert_looks_at(
    lens: NetLens,
    mask: Any,
    share: float = 0.5,
    method: Method | type[Method] | str = "grad_cam",
    *,
    objective: Objective | None = None,
    over: Over = "each",
    **options: Any,
) -> None:
    """Assert that a network looks at a region: that enough of what speaks for its answer lies inside.

    Measured is the share Σ inside max(0, v) / Σ max(0, v) of the attribution v (`netlens.evaluation.share_inside`). The
    share of a map that is the same everywhere is the share of the image that the mask covers, so a bound below this
    claims nothing, which warns. A map without a positive value has the share 0.

    Args:
        lens: The network and N images.
        mask: An array or tensor (H, W) for all images, or (N, H, W), of the sides of the network's input: bool, or of
            0 and another number. Or files or pictures that are white on the region: they are cut and resized as images
            are.
        share: The least share, above 0 and up to 1.
        method: The method, its class or name.
        objective: What is explained; None for the class that the lens explains.
        over: "each" if each image must keep the bound; "mean" if the mean over the images must.
        options: Options of the method.

    Raises:
        AssertionError: The network does not look there. The message has the numbers and the file of a picture.
        NetLensError: A mask does not fit, is empty, or covers everything.
        NotApplicable: The method has no map over the image.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> one = scene(0, label=3)
        >>> lens = NetLens(open_network(), one.image)
        >>> assert_looks_at(lens, one.mask, 0.3)

    Arras et al. 2022, https://arxiv.org/abs/2003.07258
    """
    __tracebackhide__ = HIDDEN
    share = checked("share", share, float, above=0, most=1)
    over = checked("over", over, Over)
    masks = regions_of(lens, mask, "mask")
    covered = masks.flatten(1).double().mean(1)
    if bool((covered == 1).any()):
        raise NetLensError("mask covers all of an image, so every network looks at it; give a smaller one.")
    loosest = float(covered.mean() if over == "mean" else covered.min())
    if share <= loosest:
        warnings.warn(
            f"assert_looks_at: the mask covers {loosest:.0%} of the image, so a map that is the same everywhere keeps "
            f"the bound {share:g}; give a larger share.",
            NetLensWarning,
            stacklevel=2,
        )
    attribution = lens.attribute(method, objective, **options)
    values = share_inside(attribution, masks.to(attribution.spatial.device)).double().cpu()

    def rows(images: Sequence[int]) -> list[list[Tile]]:
        return [
            [
                image_tile(attribution.image, i, attribution.subject(i), "the mask is outlined", masks),
                map_tile(attribution, i, attribution.title, f"{float(values[i]):.3g} inside the mask", masks),
            ]
            for i in images
        ]

    Claim(
        name="assert_looks_at",
        sentence=f"the network {lens.flat.name} looks at the mask",
        quantity=f"the share of the positive values of {attribution.title} that lies inside the mask",
        values=values,
        bound=share,
        sign="≥",
        over=over,
        subjects=[attribution.subject(i) for i in range(len(values))],
        notes=[f"the mask covers {float(part):.0%} of the image" for part in covered],
        rows=rows,
        look="Look where the map is bright outside of the outline: that is what speaks for the answer instead.",
    ).settle()
