"""Surveys: questions about a network and a whole data set, exact, resumable, and the same for any number of workers."""

from netlens.survey._channels import ChannelStatistics, Statistics
from netlens.survey._parts import Unreadable
from netlens.survey._peaks import Peak, Peaks, RandomSample, TopK
from netlens.survey._predictions import Calibration, Loss, Losses, Pair, Predicted, Predictions
from netlens.survey._question import Batch, Question, State
from netlens.survey._result import SurveyResult
from netlens.survey._survey import Survey

__all__ = [
    "Batch",
    "Calibration",
    "ChannelStatistics",
    "Loss",
    "Losses",
    "Pair",
    "Peak",
    "Peaks",
    "Predicted",
    "Predictions",
    "Question",
    "RandomSample",
    "State",
    "Statistics",
    "Survey",
    "SurveyResult",
    "TopK",
    "Unreadable",
]
