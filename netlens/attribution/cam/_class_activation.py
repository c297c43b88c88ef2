"""CAM as first defined: maps weighted by the weights of the classifier that pools them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from netlens.attribution.cam._base import ActivationMaps, maps_of, weighted
from netlens.attribution.cam._head import pooled_features
from netlens.attribution.engine import gradient_of
from netlens.attribution.method import Method, register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.objectives import Objective


@register
@dataclass(frozen=True)
class CAM(ActivationMaps):
    """The maps that a network averages over space, weighted by the weights of its classifier for the class.

    `values` (N, 1, h, w) are sum_c w_c A_c at the resolution of the layer. With `relu=False`, the mean of the map is
    the score without its bias, exactly. The method needs a network in which a mean over space and linear layers follow
    the maps. Grad-CAM applies to any network; on such a network it gives this map divided by the number of positions.

    Zhou et al. 2015, https://arxiv.org/abs/1512.04150
    """

    needs = "pooled maps"

    def settled(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Method:
        return self  # it explains class scores alone, and says so

    def points(self, flat: FlatModel, x: Tensor, wrt: str) -> tuple[str, ...]:
        return tuple(self._pooled(flat, key) for key in self.layers(flat, x, wrt))

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        for key, maps in maps_of(flat, x, keys).items():
            pooled = self._pooled(flat, key)
            later = {OUTPUT, *flat.program.reached([pooled])}
            if not later.issuperset(flat.keys_of(objective.layers)):
                raise NotApplicable(f"CAM explains class scores, not {objective}; GradCAM explains any objective.")
            # one step backwards from a linear output reads the rows of its weights, combined as the objective says
            _, weights = gradient_of(flat, x, objective, pooled)
            yield weighted(weights.flatten(1), maps)

    @staticmethod
    def _pooled(flat: FlatModel, key: str) -> str:
        pooled = pooled_features(flat, key)
        if pooled is None:
            raise NotApplicable(
                f"CAM needs pooled maps: a linear classifier must read just the mean over space of {key!r}, and that "
                f"of {flat.name} does not. Use GradCAM, which applies to any network."
            )
        return pooled
