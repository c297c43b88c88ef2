"""Picture: a matplotlib figure without pyplot, which draws itself in a notebook and is measured in pixels."""

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
NOTEBOOK_SCALE = 2 / 3  # a smaller picture is sharp on dense screens, and two of them fit beside each other


class Picture(Figure):
    """A figure of matplotlib in which all coordinates are pixels from its top left corner."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        self.agg = FigureCanvasAgg(self)
        self.shape = (height, width)

    def place(self, pixels: NDArray[np.uint8], x: int, y: int, height: int | None = None) -> None:
        """Put pixels (H,W,4) with their top left corner at (x, y); a height stretches them."""
        rows, columns = pixels.shape[:2]
        rows = rows if height is None else height
        total, across = self.shape
        axes = self.add_axes((x / across, 1 - (y + rows) / total, columns / across, rows / total))
        axes.imshow(pixels, interpolation="nearest", aspect="auto", origin="upper")
        axes.set_axis_off()

    def write(self, text: str, x: float, y: float, size: float, within: float, **style: Any) -> None:
        """Write one line of text whose top is at y, `size` pixels high.

        A line that is wider than `within` pixels shrinks, and then loses characters before its last part: the name of
        a layer tells more than its path.
        """
        if not text:
            return
        total, across = self.shape
        points = size * 72 / DPI
        line = self.text(
            x / across, 1 - y / total, text, va="top", fontsize=points, parse_math=False, usetex=False, **style
        )
        renderer = self.agg.get_renderer()

        def is_wide() -> bool:
            return bool(line.get_window_extent(renderer).width > within)

        smallest, left = 0.75 * points, len(text)
        while is_wide() and points > smallest:  # letters have whole pixels, so the width does not follow from the size
            points = max(0.98 * points, smallest)
            line.set_fontsize(points)
        while is_wide() and left > 1:
            left -= 1
            head = left // 3
            line.set_text(f"{text[:head].rstrip()}…{text[len(text) - left + head :].lstrip()}")

    def rgba(self) -> NDArray[np.uint8]:
        """(height, width, 4): the drawing."""
        self.agg.draw()
        return np.array(self.agg.buffer_rgba())

    def png(self, header: Mapping[str, Any] | None = None) -> bytes:
        """The drawing as a PNG file, with a header for JSON in a text chunk named `netlens`."""
        buffer = io.BytesIO()
        self.agg.print_png(buffer, metadata={} if header is None else {"netlens": json.dumps(header)})
        return buffer.getvalue()

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]]:
        # a notebook file holds its pictures, and a PNG is five times as large as a JPEG
        height, width = self.shape
        buffer = io.BytesIO()
        Image.fromarray(self.rgba()[..., :3]).save(buffer, "JPEG", quality=85)
        return buffer.getvalue(), {"width": round(width * NOTEBOOK_SCALE), "height": round(height * NOTEBOOK_SCALE)}

    def _ipython_display_(self) -> None:
        """Show the drawing in a notebook as a JPEG alone. Once pyplot is imported, IPython would add a PNG of it."""
        from IPython.display import display

        picture, size = self._repr_jpeg_()
        display({"image/jpeg": picture, "text/plain": repr(self)}, metadata={"image/jpeg": size}, raw=True)
