"""All drawing: heatmaps over images, panels that compare them, sheets of images. Without pyplot's global state."""

from netlens.show._chart import COLORS, chart
from netlens.show._counts import confusion_chart, histogram_chart, reliability_chart
from netlens.show._film import film
from netlens.show._grid import grid
from netlens.show._outline import outlined
from netlens.show._overlay import Look, Style, overlay, photograph, tells_signs
from netlens.show._panel import Scale, panel
from netlens.show._picture import Picture
from netlens.show._sheet import sheet
from netlens.show._tiles import Tile, arranged

__all__ = [
    "COLORS",
    "Look",
    "Picture",
    "Scale",
    "Style",
    "Tile",
    "arranged",
    "chart",
    "confusion_chart",
    "film",
    "grid",
    "histogram_chart",
    "outlined",
    "overlay",
    "panel",
    "photograph",
    "reliability_chart",
    "sheet",
    "tells_signs",
]
