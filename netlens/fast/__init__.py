"""Fast runs of a flat model: folded weights, memory layouts, chunks that fit, and incremental runs on parts of maps.

These rooms change the result of a network only by rounding. A flat model works without them.
"""
