"""Surveys: questions about a network and a whole data set, exact, resumable, and the same for any number of workers."""

from netlens.survey._channels import ChannelStatistics, Histogram, Statistics
from netlens.survey._parts import Unreadable
from netlens.survey._peaks import ChannelPeaks, Peak, Peaks, RandomSample, TopK
from netlens.survey._pictures import Pictures
from netlens.survey._predictions import Calibration, Loss, Losses, Pair, Predicted, Predictions, TopLosses
from netlens.survey._question import Batch, Question, State
from netlens.survey._result import SurveyResult
from netlens.survey._survey import Survey
from netlens.survey._usual import usual_layers, usual_questions

__all__ = [
    "Batch",
    "Calibration",
    "ChannelPeaks",
    "ChannelStatistics",
    "Histogram",
    "Loss",
    "Losses",
    "Pair",
    "Peak",
    "Peaks",
    "Pictures",
    "Predicted",
    "Predictions",
    "Question",
    "RandomSample",
    "State",
    "Statistics",
    "Survey",
    "SurveyResult",
    "TopK",
    "TopLosses",
    "Unreadable",
    "usual_layers",
    "usual_questions",
]
