"""Methods that change the input, or a layer, and see what the objective does."""

from netlens.attribution.perturbation.occlusion import Occlusion

__all__ = ["Occlusion"]
