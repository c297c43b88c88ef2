"""A method refuses what the table says that it refuses, for that reason, and gives finite numbers everywhere else."""

from __future__ import annotations

import pytest
from torch import Tensor

from netlens.attribution import METHODS
from tests.applicability.table import A_CLASS, BETWEEN_LAYERS, QUESTIONS, answer, applies, table
from tests.networks.families import FAMILIES, HARD, case_of


@pytest.mark.parametrize("family", [*FAMILIES, *HARD])
def test_a_method_refuses_for_the_reason_in_the_table(family: str) -> None:
    case = case_of(family)
    for question, reasons in table()[family].items():
        for name, reason in reasons.items():
            assert answer(name, case, question) == reason, (question, name)
            assert "\n" not in reason


# that it applies to the other families is what tests/attribution/test_promises.py asks
@pytest.mark.parametrize("family", HARD)
def test_a_method_applies_where_the_table_names_no_reason(family: str) -> None:
    case = case_of(family)
    for question in (A_CLASS, BETWEEN_LAYERS):
        for name in METHODS:
            if applies(name, family, question):
                values = answer(name, case, question)
                assert isinstance(values, Tensor), (question, name, values)
                assert values.isfinite().all(), (question, name)


def test_the_table_is_about_these_families_questions_and_methods() -> None:
    assert set(table()) == {*FAMILIES, *HARD}
    for questions in table().values():
        assert set(questions) <= set(QUESTIONS)
        assert all(set(reasons) <= set(METHODS) for reasons in questions.values())


def test_every_method_applies_to_a_family() -> None:
    for name in METHODS:
        assert any(applies(name, family) for family in FAMILIES), name


def test_methods_of_one_need_apply_to_the_same_families() -> None:
    needs = {method.needs for method in METHODS.values()} - {None}
    assert needs == {"attention", "global attention", "pooled maps"}
    for need in needs:
        names = [name for name, method in METHODS.items() if method.needs == need]
        families = [[family for family in FAMILIES if applies(name, family)] for name in names]
        assert families[0] and all(one == families[0] for one in families), names
        assert len(families[0]) < len(FAMILIES)
