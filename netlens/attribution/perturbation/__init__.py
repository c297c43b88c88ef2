"""Methods that change the input, or a layer, and observe the objective."""

from netlens.attribution.perturbation._bottleneck import InformationBottleneck, bottleneck_layer
from netlens.attribution.perturbation._extremal import ExtremalPerturbation
from netlens.attribution.perturbation._features import FeatureAblation
from netlens.attribution.perturbation._hsic import HSICAttribution
from netlens.attribution.perturbation._kernel_shap import KernelShap
from netlens.attribution.perturbation._lime import Lime
from netlens.attribution.perturbation._masks import patches
from netlens.attribution.perturbation._occlusion import Occlusion
from netlens.attribution.perturbation._rise import RISE
from netlens.attribution.perturbation._shapley import ShapleyValueSampling
from netlens.attribution.perturbation._sobol import SobolAttribution
from netlens.attribution.perturbation._superpixels import superpixels

__all__ = [
    "RISE",
    "ExtremalPerturbation",
    "FeatureAblation",
    "HSICAttribution",
    "InformationBottleneck",
    "KernelShap",
    "Lime",
    "Occlusion",
    "ShapleyValueSampling",
    "SobolAttribution",
    "bottleneck_layer",
    "patches",
    "superpixels",
]
