"""All drawing: heat maps over images, panels that compare them, sheets of images. Without pyplot's global state."""

from netlens.show.overlay import Look, Style, overlay
from netlens.show.panel import Scale, panel
from netlens.show.picture import Picture
from netlens.show.sheet import sheet

__all__ = ["Look", "Picture", "Scale", "Style", "overlay", "panel", "sheet"]
