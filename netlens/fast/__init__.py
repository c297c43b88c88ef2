"""Fast runs of a flat model: folded weights, memory layouts, chunks that fit, and incremental runs on parts of maps.

The code in this package changes the output of a network only by rounding. A flat model also works without it.
"""

from netlens.fast._folded import fast
from netlens.fast._folding import folded
from netlens.fast._layout import arranged

__all__ = ["arranged", "fast", "folded"]
