"""Picture: a matplotlib figure that needs no pyplot, draws itself in a notebook, and lays out tiles to the pixel."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

DPI = 200
NOTEBOOK_SCALE = 2 / 3  # of the drawn pixels: sharp on dense screens, and a pair still fits the page


class Picture(Figure):
    """A figure measured in pixels from its top left corner. Plain matplotlib otherwise: `savefig`, `axes`, ..."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        self.agg = FigureCanvasAgg(self)
        self.shape = (height, width)

    def place(self, pixels: NDArray[np.uint8], x: int, y: int, height: int | None = None) -> None:
        """Put (H,W,4) pixels with their top left corner at (x, y), one to one unless a height is given."""
        rows, columns = pixels.shape[:2]
        rows = rows if height is None else height
        total, across = self.shape
        axes = self.add_axes((x / across, 1 - (y + rows) / total, columns / across, rows / total))
        axes.imshow(pixels, interpolation="nearest", aspect="auto", origin="upper")
        axes.set_axis_off()

    def write(self, text: str, x: float, y: float, size: float, within: float, **style: Any) -> None:
        """Write one line whose top is at y, `size` pixels high; what is wider than `within` shrinks, then is cut.

        What falls out lies before the last part: a layer's own name and the number after it tell more than its path.
        """
        if not text:
            return
        total, across = self.shape
        points = size * 72 / DPI
        line = self.text(
            x / across, 1 - y / total, text, va="top", fontsize=points, parse_math=False, usetex=False, **style
        )
        renderer = self.agg.get_renderer()
        width = line.get_window_extent(renderer).width
        if width > within:
            line.set_fontsize(points * max(within / width, 0.75))
        left = len(text)
        while left > 1 and line.get_window_extent(renderer).width > within:
            left -= 1
            head = left // 3
            line.set_text(f"{text[:head].rstrip()}…{text[len(text) - left + head :].lstrip()}")

    def rgba(self) -> NDArray[np.uint8]:
        """The drawing as (height, width, 4)."""
        self.agg.draw()
        return np.array(self.agg.buffer_rgba())

    def png(self, header: Mapping[str, Any] | None = None) -> bytes:
        """The drawing as PNG, with a JSON-able header in a text chunk named `netlens`."""
        buffer = io.BytesIO()
        self.agg.print_png(buffer, metadata={} if header is None else {"netlens": json.dumps(header)})
        return buffer.getvalue()

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]]:
        # a notebook keeps what it shows; as PNG, the same picture takes five times the space
        height, width = self.shape
        buffer = io.BytesIO()
        Image.fromarray(self.rgba()[..., :3]).save(buffer, "JPEG", quality=85)
        return buffer.getvalue(), {"width": round(width * NOTEBOOK_SCALE), "height": round(height * NOTEBOOK_SCALE)}
