"""Class activation maps: the maps of a late layer, weighted by their effect on the objective."""

from netlens.attribution.cam._ablation import AblationCAM
from netlens.attribution.cam._class_activation import CAM
from netlens.attribution.cam._eigen import EigenCAM, EigenGradCAM
from netlens.attribution.cam._elementwise import GradCAMElementWise, HiResCAM, LayerCAM
from netlens.attribution.cam._finer import FinerCAM
from netlens.attribution.cam._full_grad import FullGrad
from netlens.attribution.cam._full_gradient import full_gradients
from netlens.attribution.cam._grad_cam import GradCAM, GuidedGradCAM, XGradCAM
from netlens.attribution.cam._layer import cam_layer
from netlens.attribution.cam._plus_plus import GradCAMPlusPlus, SmoothGradCAMPlusPlus
from netlens.attribution.cam._score import ISCAM, SSCAM, ScoreCAM
from netlens.attribution.cam._shapley import ShapleyCAM

__all__ = [
    "CAM",
    "ISCAM",
    "SSCAM",
    "AblationCAM",
    "EigenCAM",
    "EigenGradCAM",
    "FinerCAM",
    "FullGrad",
    "GradCAM",
    "GradCAMElementWise",
    "GradCAMPlusPlus",
    "GuidedGradCAM",
    "HiResCAM",
    "LayerCAM",
    "ScoreCAM",
    "ShapleyCAM",
    "SmoothGradCAMPlusPlus",
    "XGradCAM",
    "cam_layer",
    "full_gradients",
]
