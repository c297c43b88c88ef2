"""A recommendation: which method, with which options, explains a network best on some images."""

from netlens.evaluation.recommendation._contestants import CHEAP, Contestant, controls
from netlens.evaluation.recommendation._race import Race, Round
from netlens.evaluation.recommendation._recommend import recommend
from netlens.evaluation.recommendation._recommendation import Recommendation

__all__ = [
    "CHEAP",
    "Contestant",
    "Race",
    "Recommendation",
    "Round",
    "controls",
    "recommend",
]
