"""`python -m tests.survey.driver DATA PARTS WORKERS [ENGINE [RESULT]]`: a survey that tests end by a signal."""

from __future__ import annotations

import sys

from netlens.survey import ChannelStatistics, Predictions, RandomSample, Survey, SurveyResult, TopK
from netlens.zoo import open_network

SHARD = 5


def survey(data: str, parts: str, workers: int = 0, engine: str = "process") -> Survey:
    block = "trunk_output.block2"
    questions = (TopK(block, 5), RandomSample(block, 3), ChannelStatistics("stem"), Predictions())
    return Survey(open_network(), data, questions, parts, SHARD, workers, engine, progress=False)


def run(data: str, parts: str, workers: int = 0, engine: str = "process") -> SurveyResult:
    return survey(data, parts, workers, engine).run()


def main(data: str, parts: str, workers: str, engine: str = "process", result: str = "") -> None:
    survey_result = run(data, parts, int(workers), engine)
    if result:
        survey_result.save(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
