"""Evaluation of explanations: against known answers, and by metrics, with controls and intervals."""

from netlens.evaluation._bootstrap import interval
from netlens.evaluation._case import Case, ImageParts
from netlens.evaluation._controls import CONTROLS, CenterMap, ConstantMap, EdgeDetector, RandomMap
from netlens.evaluation._evaluate import METRICS_BY_DEFAULT, evaluate
from netlens.evaluation._explanation import Explanation
from netlens.evaluation._grids import grids
from netlens.evaluation._ground_truth import Score, scoreboard, share_inside
from netlens.evaluation._progress import Step, shown
from netlens.evaluation._quantus import explain_func
from netlens.evaluation._randomized import randomize_, randomized
from netlens.evaluation._table import Estimate, Evaluation
from netlens.evaluation.metrics import METRICS, Metric, metric_named, register_metric
from netlens.evaluation.recommendation import Recommendation, Round, recommend

__all__ = [
    "CONTROLS",
    "METRICS",
    "METRICS_BY_DEFAULT",
    "Case",
    "CenterMap",
    "ConstantMap",
    "EdgeDetector",
    "Estimate",
    "Evaluation",
    "Explanation",
    "ImageParts",
    "Metric",
    "RandomMap",
    "Recommendation",
    "Round",
    "Score",
    "Step",
    "evaluate",
    "explain_func",
    "grids",
    "interval",
    "metric_named",
    "randomize_",
    "randomized",
    "recommend",
    "register_metric",
    "scoreboard",
    "share_inside",
    "shown",
]
