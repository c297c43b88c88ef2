"""All drawing: heat maps over images, and panels that compare them. No pyplot, hence no global state."""

from netlens.show.overlay import Look, Style, overlay
from netlens.show.panel import Scale, panel
from netlens.show.picture import Picture

__all__ = ["Look", "Picture", "Scale", "Style", "overlay", "panel"]
