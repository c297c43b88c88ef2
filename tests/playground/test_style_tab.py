"""The events of the tab Style, without a browser."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from netlens.errors import NetLensError
from netlens.interruption import Interrupted, interruptible
from netlens.playground import Studio
from netlens.playground import _painting as painting_module
from netlens.playground import _style_tab as tab
from netlens.playground._brush import COLORS
from netlens.playground._links import value_of
from netlens.playground._painting import texts_of
from netlens.playground._store import digest
from netlens.playground._style_picker import style_picker
from netlens.playground._texts import written as written_texts
from netlens.playground._uploads import Uploads
from tests.playground.paintings import QUICK, text_of


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """Show each step, however fast it is."""
    monkeypatch.setattr(painting_module, "PACE", 0)
    monkeypatch.setattr(painting_module, "_SHARE", 0)


@pytest.fixture
def events(studio, monkeypatch):
    """The functions of the events of the tab by name, of a page with a store of its own."""
    functions = {}

    def take(triggers, function, *rest, js=None):
        functions[function.__name__] = function

    monkeypatch.setattr(tab, "heavy", take)
    monkeypatch.setattr(tab, "light", take)
    new_studio = Studio(studio.flat)
    with gr.Blocks():
        tab.build(new_studio, gr.Textbox(), Uploads(new_studio))
    return new_studio, functions


STYLES = json.dumps(["mosaic"])


def single(masks="", painted_over="scene 1", painted_for=STYLES, **settings):
    """The values of the controls of one painting."""
    options = written_texts({f"style.{name}": text for name, text in texts_of({**QUICK, **settings}).items()})
    return ["scene 1", STYLES, options, "content", masks, painted_over, painted_for]


def grid_controls(*axes, **settings):
    """The values of the controls of a grid."""
    first, second = [*axes, ("", ""), ("", "")][:2]
    return [*single(**settings), *first, *second, False]


def runs_of(studio, page):
    """The runs in the list of a page."""
    return [studio.painted.get(key) for key in studio.listed.get(digest(page)) or ()]


def test_a_run_keeps_its_number_when_others_are_gone(events):
    new_studio, of = events
    shown: list[Any] = []
    of["compute_grid"]("mine", *grid_controls(("seed", "1, 2, 3")))(shown.append)
    assert [one.number for one in runs_of(new_studio, "mine")] == [1, 2, 3]
    new_studio.listed.put(digest("mine"), new_studio.listed.get(digest("mine"))[1:])  # the first one is gone
    of["compute"]("mine", *single(seed=4))(shown.append)
    runs = runs_of(new_studio, "mine")
    assert [one.number for one in runs] == [2, 3, 4] and runs_of(new_studio, "another page") == []
    listed, full, *_ = of["refresh"]("mine", runs[0].key, "")
    assert "Run 2:" in full and "<span>4</span>" in listed
    assert of["settings_again"](runs[0].key)[0].count("seed=2") == 1


def test_a_job_that_waited_adds_to_the_runs_that_there_are_when_it_begins(events):
    new_studio, of = events
    first, second = (of["compute"]("mine", *single(seed=seed)) for seed in (1, 2))
    first(lambda shown: None)
    second(lambda shown: None)
    assert [(one.number, one.painting.settings["seed"]) for one in runs_of(new_studio, "mine")] == [(1, 1), (2, 2)]


def test_the_table_says_which_run_is_being_painted(events):
    new_studio, of = events
    tables: list[tuple[str, str]] = []

    def look(shown):
        run = next(iter(runs_of(new_studio, "mine")), None)
        tables.append(of["refresh"]("mine", run.key if run else "", "yes" if shown[0] else "")[:2])

    of["compute"]("mine", *single())(look)
    assert tables[0] == ("", "")  # the hint of what to do goes when it is done
    growing, done = tables[1], tables[-1]
    assert len(tables) > 3 and all("being painted" in text and "stopped" not in text for text in growing)
    assert not any("painted" in text for text in done)
    first = of["refresh"]("another page", "", "")
    assert first[0] == "" and "press Paint" in first[1]


def test_a_run_that_was_stopped_is_not_being_painted(events):
    new_studio, of = events
    with pytest.raises(Interrupted), interruptible(lambda: bool(runs_of(new_studio, "mine"))):
        of["compute"]("mine", *single(steps=50))(lambda shown: None)
    live, key, _ = of["stopped"]("mine")
    listed, full, *_ = of["refresh"]("mine", key, live)
    assert "stopped after 1 of 50 steps" in listed and "stopped after 1 of 50 steps" in full


def test_masks_for_other_pictures_than_those_of_the_press_are_not_used(events):
    new_studio, of = events
    over = text_of(Image.new("RGBA", (60, 40), COLORS[0]))
    for other in ({}, {"painted_over": "scene 2"}, {"painted_for": json.dumps(["dots"])}):
        of["compute"]("mine", *single(over, **other))(lambda shown: None)
    assert [one.painting.masked for one in runs_of(new_studio, "mine")] == [True, False, False]


def test_a_full_grid_stays_in_the_table():
    assert tab.MOST_RUNS >= painting_module.MOST_OF_GRID


@pytest.mark.parametrize("error", [OSError("the disk is full"), MemoryError(), NetLensError("no")])
def test_a_picture_of_a_grid_that_fails_does_not_end_the_others(events, monkeypatch, error):
    new_studio, of = events
    true = tab.paint

    def paint(studio, painting, *rest):
        if painting.settings["seed"] == 2:
            raise error
        return true(studio, painting, *rest)

    monkeypatch.setattr(tab, "paint", paint)
    shown: list[Any] = []
    with pytest.raises(NetLensError, match=r"1 of 3 pictures failed; .*seed 2: "):
        of["compute_grid"]("mine", *grid_controls(("seed", "1, 2, 3")))(shown.append)
    assert [one.number for one in runs_of(new_studio, "mine")] == [1, 2]
    assert shown[-1][0] == ""  # nothing grows any more


def test_after_an_error_the_page_looks_idle(events, monkeypatch):
    _, of = events
    shown: list[Any] = []

    def paint(studio, painting, look, number):
        raise ZeroDivisionError

    monkeypatch.setattr(tab, "paint", paint)
    with pytest.raises(ZeroDivisionError):
        of["compute"]("mine", *single())(shown.append)
    assert shown[0][0] != "" and shown[-1][0] == ""


def test_plans_of_a_tab_are_kept_under_one_key(events):
    new_studio, of = events
    key = ""
    for values in ("1, 2", "1, 2, 3", "1, 2, x", "1"):
        text, key = of["planned"](key, *grid_controls(("seed", values)))
    assert len(new_studio.painted) == 1 and len(new_studio.painted.get(key).paintings) == 3
    text, same = of["planned"](key, *grid_controls(("seed", "1, 2")))
    assert same == key and f"style/{key}.zip" in text


def test_a_batch_that_is_gone_is_told(events):
    _, of = events
    assert of["compute_batch"]("", "") is None
    with pytest.raises(NetLensError, match="no longer here"):
        of["compute_batch"]("", "gone")


def test_masks_go_when_the_styles_that_they_are_for_move(events):
    _, of = events
    picture = Image.new("RGBA", (60, 40), COLORS[1])
    before, now = json.dumps(["mosaic", "dots"]), json.dumps(["dots"])
    canvas, masks, names = of["follow_styles"]("scene 1", now, before, text_of(picture))
    assert tab.MOVED in canvas and (masks, names) == ("", now)
    more = json.dumps(["mosaic", "dots", "scene 2"])
    canvas, masks, names = of["follow_styles"]("scene 1", more, before, text_of(picture))
    assert canvas == masks == gr.skip() and names == more


def test_a_style_with_the_letter_that_divides_a_link_comes_back_from_it(studio, tmp_path):
    names = ["~draft~1.png", "50%7E.png", "plain.png"]
    for name in names:
        Image.new("RGB", (30, 30), "red").save(tmp_path / name)
    folder_studio = Studio(studio.flat, folder=tmp_path)
    with gr.Blocks():
        styles = style_picker(folder_studio, Uploads(folder_studio), "style")
    values = dict(styles.choices)
    address = "~".join(values[name] for name in names)
    assert tab.names_in(json.dumps(value_of(address, styles))) == tuple(names)
