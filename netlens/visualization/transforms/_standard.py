"""Chains of transforms, and the usual transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from netlens.options import check, option
from netlens.visualization.transforms._affine import GRAY, Geometric, Jitter, Outside, Rotate, Scale, View
from netlens.visualization.transforms._base import Generators, Transform, check_batch, shaped
from netlens.visualization.transforms._crops import CenterCrop, Pad, ZoomCrop
from netlens.visualization.transforms._disturb import Blur, Noise

Step = Transform | Callable[[Tensor, Generators], Tensor]
"""A transform, or a function with the same arguments."""


@dataclass(frozen=True)
class Chain(Transform):
    """Apply transforms one after the other. Several geometric transforms in a row resample pictures only once."""

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
        """All steps; an inner chain is replaced by its steps."""
        return tuple(inner for step in self.steps for inner in (step.flat() if isinstance(step, Chain) else (step,)))


def standard(
    pad: int = 12,
    outside: Outside = GRAY,
    jitter: float = 1 / 8,
    scale: tuple[float, float] = (0.9, 1.1),
    degrees: float = 15,
    last_jitter: float = 4,
) -> Chain:
    """The standard transforms: pad, jitter, scale, rotate (in 80 % of the cases), jitter again, and remove the padding.

    The paper has a jitter of 8 pixels and rotates by up to 10°. With larger shifts and rotations, the objective of a
    picture decreases less when the picture is disturbed.

    Args:
        pad: The padding on each side, in pixels, at least 0.
        outside: The values outside of the picture.
        jitter: The range of the first shift, as in `Jitter`: in pixels, or below 1 as a share of the shorter side.
        scale: The smallest and the largest factor of magnification, above 0.
        degrees: The largest angle of the rotation, in degrees.
        last_jitter: The range of the last shift, as in `Jitter`.

    Example:
        >>> import torch
        >>> standard()(torch.rand(1, 3, 32, 48), [torch.Generator()]).shape
        torch.Size([1, 3, 32, 48])

    Olah et al. 2017, https://distill.pub/2017/feature-visualization
    """
    moves = (Jitter(jitter), Scale(*scale), Rotate(degrees, upright=0.2), Jitter(last_jitter))
    return Chain((Pad(pad, outside), *moves, CenterCrop(pad)))


def cropped(low: float = 0.5, degrees: float = 10, blur: float = 1.0, noise: float = 0.03) -> Chain:
    """The transforms for classes: zoom into a random part of the picture, rotate, blur and add noise.

    A picture must then show the class at many sizes and positions. So it holds a few whole objects, and not many
    fragments.

    Args:
        low: The smallest share of the height and width, above 0 and at most 1.
        degrees: The largest angle of the rotation, in degrees.
        blur: The largest standard deviation of the blur, in pixels, at least 0.
        noise: The standard deviation of the noise, for colors in [0, 1], at least 0.

    Example:
        >>> import torch
        >>> cropped(low=0.25)(torch.rand(1, 3, 32, 48), [torch.Generator()]).shape
        torch.Size([1, 3, 32, 48])

    Fel et al. 2023, https://arxiv.org/abs/2306.06805
    """
    return Chain((ZoomCrop(low, 1.0), Rotate(degrees), Blur(0, blur), Noise(noise)))
