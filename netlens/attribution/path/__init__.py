"""Path methods: gradients added up along a path from a baseline to the input."""

from netlens.attribution.path.blur import BlurIntegratedGradients
from netlens.attribution.path.guided import GuidedIntegratedGradients
from netlens.attribution.path.integrated import IntegratedGradients
from netlens.attribution.path.layer import InternalInfluence, LayerConductance
from netlens.attribution.path.shap import GradientShap

__all__ = [
    "BlurIntegratedGradients",
    "GradientShap",
    "GuidedIntegratedGradients",
    "IntegratedGradients",
    "InternalInfluence",
    "LayerConductance",
]
