"""Evaluation of explanations against known answers."""

from netlens.evaluation.ground_truth import EdgeDetector, RandomMap, Score, scoreboard, share_inside
from netlens.evaluation.randomized import randomize_, randomized

__all__ = ["EdgeDetector", "RandomMap", "Score", "randomize_", "randomized", "scoreboard", "share_inside"]
