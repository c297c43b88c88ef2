"""Class activation maps: the maps of a late layer, weighted by what they mean for the objective."""

from netlens.attribution.cam.grad_cam import GradCAM, GuidedGradCAM
from netlens.attribution.cam.layer import cam_layer

__all__ = ["GradCAM", "GuidedGradCAM", "cam_layer"]
