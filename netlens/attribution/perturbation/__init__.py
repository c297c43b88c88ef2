"""Methods that change the input, or a layer, and observe the objective."""

from netlens.attribution.perturbation.bottleneck import InformationBottleneck, bottleneck_layer
from netlens.attribution.perturbation.extremal import ExtremalPerturbation
from netlens.attribution.perturbation.features import FeatureAblation
from netlens.attribution.perturbation.hsic import HSICAttribution
from netlens.attribution.perturbation.kernel_shap import KernelShap
from netlens.attribution.perturbation.lime import Lime
from netlens.attribution.perturbation.masks import patches
from netlens.attribution.perturbation.occlusion import Occlusion
from netlens.attribution.perturbation.rise import RISE
from netlens.attribution.perturbation.shapley import ShapleyValueSampling
from netlens.attribution.perturbation.sobol import SobolAttribution
from netlens.attribution.perturbation.superpixels import superpixels

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
