"""Which method refuses which family of networks, and why.

`table.json` names, for each family and each question, the methods that do not apply, with their reason. Every other
method applies. `python -m tests.applicability.table` writes the table anew. Do so only where a change is meant.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest
from torch import Tensor

from netlens.attribution import METHODS
from netlens.errors import NotApplicable
from netlens.objectives import Objective, channel, layer, logit
from tests.networks.families import FAMILIES, HARD, Case, case_of
from tests.small import small

FILE = Path(__file__).parent / "table.json"

A_CLASS = "a class, from the input"
AT_A_LAYER = "a class, from the middle"
AT_THE_LAST = "a class, from the last maps"
A_CHANNEL = "a channel, from the input"
BETWEEN_LAYERS = "a channel, from the middle"
OF_SEVERAL = "a class, a channel and a layer, from the middle"
QUESTIONS: dict[str, Callable[[Case], tuple[Objective, str]]] = {
    A_CLASS: lambda case: (case.objective, "input"),
    AT_A_LAYER: lambda case: (case.objective, case.family.middle),
    AT_THE_LAST: lambda case: (case.objective, case.family.late),
    A_CHANNEL: lambda case: (channel(case.family.late, 0), "input"),
    BETWEEN_LAYERS: lambda case: (channel(case.family.late, 0), case.family.middle),
    OF_SEVERAL: lambda case: (
        logit(0) + channel(case.family.late, 1) - 0.5 * layer(case.family.middle),
        case.family.middle,
    ),
}
Refusals = dict[str, dict[str, dict[str, str]]]  # family: question: method: reason


@cache
def table() -> Refusals:
    return json.loads(FILE.read_text())


def applies(name: str, family: str, question: str = A_CLASS) -> bool:
    """Whether the table says that the method applies."""
    return name not in table()[family].get(question, {})


def applying(
    *questions: str, families: Iterable[str] = FAMILIES, methods: Iterable[str] = METHODS
) -> pytest.MarkDecorator:
    """A test of each method, with few steps, on the case of each family where the table has an answer to a question."""
    return pytest.mark.parametrize(
        ("method", "case"),
        [
            pytest.param(small(name), family, id=f"{name}-{family}")
            for family in families
            for name in methods
            if any(applies(name, family, question) for question in questions)
        ],
        indirect=["case"],
    )


def answer(name: str, case: Case, question: str) -> Tensor | str:
    """The values that the method gives, or why it does not apply."""
    objective, wrt = QUESTIONS[question](case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return small(name)(case.flat, case.x, objective, wrt=wrt).values
        except NotApplicable as refusal:
            return re.sub(r"\.py:\d+", ".py", str(refusal))  # a line moves when its file changes


def refusals() -> Refusals:
    """The table as it is now."""
    rows: Refusals = {}
    for family in (*FAMILIES, *HARD):
        case = case_of(family)
        for question in QUESTIONS:
            answers = {name: answer(name, case, question) for name in METHODS}
            reasons = {name: reason for name, reason in answers.items() if isinstance(reason, str)}
            rows.setdefault(family, {}).update({question: reasons} if reasons else {})
    return rows


if __name__ == "__main__":
    FILE.write_text(json.dumps(refusals(), indent=1, sort_keys=True) + "\n")
