"""Fast runs of a flat model: folded weights, memory layouts, chunks that fit, and incremental runs on parts of maps.

The code in this package changes the output of a network only by rounding. A flat model also works without it.
"""
