"""Work shows what it has, stops within half a second, runs alone, and tells its errors in one line."""

from __future__ import annotations

import threading
import time

import gradio as gr
import pytest
import torch

from netlens.errors import NetLensError
from netlens.interruption import Interrupted, asked_now
from netlens.playground._work import in_one_line, shown_after_error, shown_as_made


def results_of(work):
    return [result for result in shown_as_made(work) if result is not None]


def threads():
    return sum(thread.name == "netlens playground" for thread in threading.enumerate())


def ended(within: float) -> bool:
    """Whether all computations end within some seconds."""
    end = time.perf_counter() + within
    while threads() and time.perf_counter() < end:
        time.sleep(0.01)
    return not threads()


def test_results_come_as_they_are_made():
    gate = threading.Event()

    def work(show):
        show("first")
        assert gate.wait(5)
        show("second")

    stream = shown_as_made(work)
    assert next(stream) == "first"
    assert next(stream) is None  # nothing new yet
    gate.set()
    assert [result for result in stream if result is not None] == ["second"]


def test_closing_the_stream_stops_a_network_within_half_a_second(studio):
    x = torch.zeros(1, 3, 128, 128)
    runs = []

    def work(show):
        while True:
            studio.flat(x)
            runs.append(1)
            show("ran")

    stream = shown_as_made(work)
    assert next(stream) == "ran"
    stream.close()
    assert ended(within=0.5)
    done = len(runs)
    time.sleep(0.1)
    assert len(runs) == done


def test_one_computation_runs_at_a_time():
    running, most = [], []

    def work(show):
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()

    callers = [threading.Thread(target=results_of, args=(work,)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most == [1, 1, 1, 1]


def test_a_computation_that_waits_for_its_turn_can_be_stopped():
    gate = threading.Event()
    first = shown_as_made(lambda show: (show("on"), gate.wait(5)))
    assert next(first) == "on"
    started = []
    second = shown_as_made(lambda show: started.append(1))
    assert next(second) is None
    second.close()
    gate.set()
    list(first)
    assert ended(within=1)
    assert not started


def test_an_error_of_the_computation_is_raised_where_its_results_are_read():
    def work(show):
        raise NetLensError("no such\n layer")

    with pytest.raises(gr.Error) as caught, in_one_line():
        results_of(work)
    assert caught.value.message == "no such layer"
    assert not caught.value.print_exception


@pytest.mark.parametrize("error", [NetLensError("no"), MemoryError(), ZeroDivisionError()])
def test_after_an_error_the_page_shows_no_computation(error):
    def work(show):
        show("step 3 of 100")
        raise error

    shown = []
    with pytest.raises(type(error)):
        for one in shown_as_made(shown_after_error(work, lambda: "ended at step 3")):
            shown.append(one)
    assert [one for one in shown if one is not None] == ["step 3 of 100", "ended at step 3"]


def test_a_computation_that_was_stopped_or_is_done_shows_nothing_more():
    assert results_of(shown_after_error(lambda show: show("done"), lambda: "last")) == ["done"]

    def work(show):
        raise Interrupted

    assert results_of(shown_after_error(work, lambda: "last")) == []


def test_names_in_errors_are_no_html():
    with pytest.raises(gr.Error) as caught, in_one_line():
        raise NetLensError("<img src=x onerror=alert(1)>.jpg is empty")
    assert "<" not in caught.value.message


def test_an_error_of_the_program_is_no_message_for_users():
    with pytest.raises(ZeroDivisionError), in_one_line():
        results_of(lambda show: 1 / 0)


def test_the_computation_is_asked_to_stop_only_when_its_stream_closes():
    answers = []
    assert results_of(lambda show: answers.append(asked_now())) == []
    assert answers == [False]
