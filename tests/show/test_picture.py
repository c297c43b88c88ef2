"""Lines of text in a drawing."""

from __future__ import annotations

import pytest

from netlens.show._picture import DPI, Picture

TEXT = "logit('dotted star') - logit('dotted heart')"
SIZE = 32.0  # pixels


def written(within: float) -> tuple[str, float, float]:
    """The text that stands in a picture, its size beside the one asked for, and its width in pixels."""
    picture = Picture(1000, 100)
    picture.write(TEXT, 0, 0, SIZE, within)
    (line,) = picture.texts
    width = line.get_window_extent(picture.agg.get_renderer()).width
    return line.get_text(), line.get_fontsize() * DPI / 72 / SIZE, width


@pytest.mark.parametrize("within", range(490, 660, 10))
def test_a_line_shrinks_to_three_quarters_before_it_loses_characters(within):
    text, size, width = written(within)
    assert text == TEXT
    assert width <= within
    assert size >= 0.75


def test_a_line_that_is_still_too_wide_keeps_most_of_its_last_part():
    text, size, width = written(300)
    assert size == pytest.approx(0.75)
    assert width <= 300
    head, tail = text.split("…")
    assert TEXT.startswith(head) and TEXT.endswith(tail) and len(tail) > len(head)
