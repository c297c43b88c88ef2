"""Blur integrated gradients: the path leads through ever sharper versions of the image and needs no baseline."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._positions import has_maps
from netlens.attribution._scale_space import ScaleSpace
from netlens.attribution._suffix import Suffix
from netlens.attribution.baseline import blurred_dims
from netlens.attribution.method import Method, register
from netlens.attribution.path._quadrature import Quadrature, quadrature
from netlens.attribution.path.rows import each, rows_of, summed
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True)
class BlurIntegratedGradients(Method):
    """The gradient integrated along the path from a blurred image to the image itself.

    The Gaussian blur of width sigma shrinks from `max_sigma` pixels to 0. `values` are the integral of
    d f / d value * (d value / d sigma) over this path. They have the shape of `wrt` and the unit of the objective f.
    With respect to a layer, the maps of the layer are blurred.

    The values are complete: they sum to f(x) - f(most blurred), up to the error of the quadrature.
    `diagnostics["completeness_gap"]` (N,) is this error, in the unit of f.

    Xu et al. 2020, https://arxiv.org/abs/2004.03383
    """

    n_steps: int = option(50, least=1, help="Gradients along the path.")
    max_sigma: float = option(50.0, above=0, help="Deviation of the strongest blur, in pixels.")
    quadrature: Quadrature = option("gausslegendre", help="Where on the path the gradient is read.")
    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        weights, nodes = quadrature(self.quadrature, self.n_steps)
        suffix = Suffix.of(flat, x, objective, wrt)
        activation, n = suffix.activation, len(x)
        if not has_maps(flat, wrt, activation):
            raise NotApplicable(
                f"a blur needs images or maps (N, C, h, w); {wrt!r} gives {tuple(activation.shape)}. "
                "Take IntegratedGradients."
            )
        space = ScaleSpace(activation, blurred_dims(flat, wrt, activation))
        # nodes are squared, because a small blur already removes most of the detail, so f changes most at small sigmas
        sigmas, slopes = self.max_sigma * nodes**2, self.max_sigma * 2 * nodes

        def work(first: int, last: int) -> Tensor:
            rows, steps = rows_of(first, last, n)
            sigma = each(sigmas[steps], activation)
            gradient = suffix.gradient(rows, space.blurred(rows, sigma))
            # the sign is negative, because sigma grows from sharp to blurred and the path leads the other way
            return summed(gradient * space.change(rows, sigma) * -each((weights * slopes)[steps], activation), rows, n)

        values = sum(in_chunks(self.n_steps * n, work))
        assert isinstance(values, Tensor)
        most = space.blurred(list(range(n)), each([self.max_sigma] * n, activation))
        change = suffix.values(activation) - suffix.values(most)
        return values, {"completeness_gap": values.flatten(1).sum(1) - change}
