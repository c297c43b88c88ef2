"""Path methods: gradients added up along a path from a baseline to the input."""

from netlens.attribution.path._blur import BlurIntegratedGradients
from netlens.attribution.path._guided import GuidedIntegratedGradients
from netlens.attribution.path._integrated import IntegratedGradients
from netlens.attribution.path._layer import InternalInfluence, LayerConductance
from netlens.attribution.path._shap import GradientShap

__all__ = [
    "BlurIntegratedGradients",
    "GradientShap",
    "GuidedIntegratedGradients",
    "IntegratedGradients",
    "InternalInfluence",
    "LayerConductance",
]
