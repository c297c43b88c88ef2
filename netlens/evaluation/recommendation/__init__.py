"""A recommendation: which method, with which options, explains a network best on some images."""

from netlens.evaluation.recommendation._race import Round
from netlens.evaluation.recommendation._recommend import recommend
from netlens.evaluation.recommendation._recommendation import Recommendation

__all__ = ["Recommendation", "Round", "recommend"]
