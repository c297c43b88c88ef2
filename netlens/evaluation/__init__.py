"""Evaluation: judging explanations against known answers."""

from netlens.evaluation.ground_truth import EdgeDetector, RandomMap, Score, scoreboard, share_inside
from netlens.evaluation.randomised import randomise_, randomised

__all__ = ["EdgeDetector", "RandomMap", "Score", "randomise_", "randomised", "scoreboard", "share_inside"]
