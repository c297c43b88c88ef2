"""Class activation maps: the maps of a late layer, weighted by their effect on the objective."""

from netlens.attribution.cam.ablation import AblationCAM
from netlens.attribution.cam.class_activation import CAM
from netlens.attribution.cam.eigen import EigenCAM, EigenGradCAM
from netlens.attribution.cam.elementwise import GradCAMElementWise, HiResCAM, LayerCAM
from netlens.attribution.cam.finer import FinerCAM
from netlens.attribution.cam.full_grad import FullGrad
from netlens.attribution.cam.full_gradient import full_gradients
from netlens.attribution.cam.grad_cam import GradCAM, GuidedGradCAM, XGradCAM
from netlens.attribution.cam.layer import cam_layer
from netlens.attribution.cam.plus_plus import GradCAMPlusPlus, SmoothGradCAMPlusPlus
from netlens.attribution.cam.score import ISCAM, SSCAM, ScoreCAM
from netlens.attribution.cam.shapley import ShapleyCAM

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
