"""What makes a flat model fast: folded weights, memory layouts, chunks that fit, and incremental runs on parts of maps.

Nothing here changes what a network computes but for rounding; a flat model is complete without it.
"""
