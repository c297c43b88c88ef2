"""Evaluation of explanations against known answers."""

from netlens.evaluation._ground_truth import EdgeDetector, RandomMap, Score, scoreboard, share_inside
from netlens.evaluation._randomized import randomize_, randomized

__all__ = ["EdgeDetector", "RandomMap", "Score", "randomize_", "randomized", "scoreboard", "share_inside"]
