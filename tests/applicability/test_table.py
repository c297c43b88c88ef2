"""A method applies to the families that the table names, and refuses the others for the reason that stands there."""

from __future__ import annotations

import json

import pytest

from netlens.attribution import METHODS
from tests.applicability.table import APPLIES, FAMILIES, FILE, applicability

TABLE = json.loads(FILE.read_text())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_method_applies_where_the_table_says_so(family: str) -> None:
    assert applicability(family) == TABLE[family]


def test_every_method_applies_to_some_family() -> None:
    assert list(TABLE) == list(FAMILIES)
    for name in METHODS:
        assert APPLIES in {answers[name] for answers in TABLE.values()}, name
