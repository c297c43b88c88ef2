"""What is known of each operation is what was recorded: a difference is a decision, and is written down."""

from __future__ import annotations

import json
import warnings

import pytest

from tests.golden.operations import FILE, known_of, sources

GOLDEN = json.loads(FILE.read_text())


def test_every_operation_is_recorded() -> None:
    assert list(sources()) == list(GOLDEN)


@pytest.mark.parametrize("part", range(8))
def test_what_is_known_is_what_was_recorded(part: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = {source: known_of(source) for source in list(GOLDEN)[part::8]}
    assert answers == {source: GOLDEN[source] for source in answers}
