"""Attribution: which parts of an image, or of a layer, an objective depends on.

A method is a frozen dataclass whose fields are its options and whose call is
`method(flat, x, objective, wrt="input") -> Attribution`.
"""

from netlens.attribution.attention import AttentionMap, AttentionRollout, GradientRollout, LeGrad
from netlens.attribution.cam import GradCAM, GuidedGradCAM, cam_layer
from netlens.attribution.gradient import Deconvolution, GuidedBackprop, InputGradient, InputXGradient, Saliency
from netlens.attribution.layer import LayerActivation
from netlens.attribution.method import METHODS, Method, method_named, register
from netlens.attribution.path import (
    BlurIntegratedGradients,
    GradientShap,
    GuidedIntegratedGradients,
    IntegratedGradients,
    InternalInfluence,
    LayerConductance,
)
from netlens.attribution.perturbation import (
    RISE,
    ExtremalPerturbation,
    FeatureAblation,
    HSICAttribution,
    InformationBottleneck,
    KernelShap,
    Lime,
    Occlusion,
    ShapleyValueSampling,
    SobolAttribution,
    bottleneck_layer,
    patches,
    superpixels,
)
from netlens.attribution.propagation import LRP, DeepLift, DeepLiftShap, ExcitationBackprop
from netlens.attribution.smooth import SmoothGradient, SmoothGradientSquared, VarGrad
from netlens.attribution.together import together
from netlens.results import Attribution

__all__ = [
    "LRP",
    "METHODS",
    "RISE",
    "AttentionMap",
    "AttentionRollout",
    "Attribution",
    "BlurIntegratedGradients",
    "Deconvolution",
    "DeepLift",
    "DeepLiftShap",
    "ExcitationBackprop",
    "ExtremalPerturbation",
    "FeatureAblation",
    "GradCAM",
    "GradientRollout",
    "GradientShap",
    "GuidedBackprop",
    "GuidedGradCAM",
    "GuidedIntegratedGradients",
    "HSICAttribution",
    "InformationBottleneck",
    "InputGradient",
    "InputXGradient",
    "IntegratedGradients",
    "InternalInfluence",
    "KernelShap",
    "LayerActivation",
    "LayerConductance",
    "LeGrad",
    "Lime",
    "Method",
    "Occlusion",
    "Saliency",
    "ShapleyValueSampling",
    "SmoothGradient",
    "SmoothGradientSquared",
    "SobolAttribution",
    "VarGrad",
    "bottleneck_layer",
    "cam_layer",
    "method_named",
    "patches",
    "register",
    "superpixels",
    "together",
]
