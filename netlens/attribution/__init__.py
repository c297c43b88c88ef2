"""Attribution: which parts of an image, or of a layer, an objective depends on.

A method is a frozen dataclass whose fields are its options and whose call is
`method(flat, x, objective, wrt="input") -> Attribution`.
"""

from netlens.attribution.cam import GradCAM, GuidedGradCAM, cam_layer
from netlens.attribution.gradient import Deconvolution, GuidedBackprop, InputGradient, InputXGradient, Saliency
from netlens.attribution.method import METHODS, Method, method_named, register
from netlens.attribution.path import IntegratedGradients
from netlens.attribution.perturbation import FeatureAblation, Occlusion, patches, superpixels
from netlens.attribution.smooth import SmoothGradient, SmoothGradientSquared, VarGrad
from netlens.attribution.together import together
from netlens.results import Attribution

__all__ = [
    "METHODS",
    "Attribution",
    "Deconvolution",
    "FeatureAblation",
    "GradCAM",
    "GuidedBackprop",
    "GuidedGradCAM",
    "InputGradient",
    "InputXGradient",
    "IntegratedGradients",
    "Method",
    "Occlusion",
    "Saliency",
    "SmoothGradient",
    "SmoothGradientSquared",
    "VarGrad",
    "cam_layer",
    "method_named",
    "patches",
    "register",
    "together",
]
