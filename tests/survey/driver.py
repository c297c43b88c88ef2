"""`python -m tests.survey.driver DATA PARTS WORKERS`: a survey in a process that tests end by a signal."""

from __future__ import annotations

import sys

from netlens.survey import ChannelStatistics, Predictions, RandomSample, Survey, SurveyResult, TopK
from netlens.zoo import open_network

SHARD = 5


def survey(data: str, parts: str, workers: int = 0) -> Survey:
    block = "trunk_output.block2"
    questions = (TopK(block, 5), RandomSample(block, 3), ChannelStatistics("stem"), Predictions())
    return Survey(open_network(), data, questions, parts, SHARD, workers, progress=False)


def run(data: str, parts: str, workers: int = 0) -> SurveyResult:
    return survey(data, parts, workers).run()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
