"""A chain of transforms, and the usual chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from netlens.options import check, option
from netlens.visualization.transforms.affine import GRAY, Geometric, Jitter, Outside, Rotate, Scale, View
from netlens.visualization.transforms.base import Generators, Transform, check_batch, shaped
from netlens.visualization.transforms.crops import CenterCrop, Pad, ZoomCrop
from netlens.visualization.transforms.disturb import Blur, Noise

Step = Transform | Callable[[Tensor, Generators], Tensor]
"""A transform, or a function with the same arguments."""


@dataclass(frozen=True)
class Chain(Transform):
    """Apply transforms one after the other; geometric transforms in a row resample the pictures once."""

    steps: tuple[Step, ...] = option((), help="The transforms, in their order.")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        check_batch(images, generators)
        view: View | None = None
        for step in self.flat():
            if isinstance(step, Geometric):
                height, width = images.shape[-2:]
                view = step.view_through(View.whole(len(images), (height, width)) if view is None else view, generators)
            else:
                pictures = images if view is None else view.of(images)
                images = shaped(
                    step(pictures, generators), (*pictures.shape[:2], -1, -1), f"{step!r} of the transforms"
                )
                view = None
        return images if view is None else view.of(images)

    def flat(self) -> tuple[Step, ...]:
        """The steps; the steps of an inner chain stand in its place."""
        return tuple(inner for step in self.steps for inner in (step.flat() if isinstance(step, Chain) else (step,)))


def standard(
    pad: int = 12,
    outside: Outside = GRAY,
    jitter: float = 1 / 8,
    scale: tuple[float, float] = (0.9, 1.1),
    degrees: float = 15,
    last_jitter: float = 4,
) -> Chain:
    """Pad, jitter, scale, rotate (in a fifth of the cases not) and jitter again, at the size that the picture has.

    jitter, last_jitter: as of `Jitter`, in pixels or, below 1, as a share. Olah et al. have a jitter of 8 pixels and
    10°; pictures that were shifted and turned further keep more of what they show when they are disturbed.

    Olah et al. 2017, https://distill.pub/2017/feature-visualization
    """
    moves = (Jitter(jitter), Scale(*scale), Rotate(degrees, upright=0.2), Jitter(last_jitter))
    return Chain((Pad(pad, outside), *moves, CenterCrop(pad)))


def cropped(low: float = 0.5, degrees: float = 10, blur: float = 1.0, noise: float = 0.03) -> Chain:
    """Zoom into a part of the picture, from `low` of its height and width on, rotate, blur and add noise.

    What a class is shows at many sizes and places then, so that the picture holds a few whole things instead of
    fragments all over. Fel et al. 2023 (MACO), https://arxiv.org/abs/2306.06805
    """
    return Chain((ZoomCrop(low, 1.0), Rotate(degrees), Blur(0, blur), Noise(noise)))
