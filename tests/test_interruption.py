"""A run that was asked to end does so before the next layer, in its own thread, and no error handler keeps it going."""

from __future__ import annotations

from threading import Event, Thread

import pytest
import torch
from torch import nn

from netlens.flat import FlatModel
from netlens.interruption import Interrupted, asked_now, interruptible


def network():
    return FlatModel.from_nn_Module(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)))


def test_a_run_ends_before_the_next_layer():
    flat = network()
    calls: list[int] = []

    def should_stop() -> bool:
        calls.append(len(calls))
        return len(calls) > 2

    with interruptible(should_stop), pytest.raises(Interrupted, match="stopped before '2'"):
        flat(torch.zeros(1, 3))
    assert len(calls) == 3


def test_a_run_that_nobody_stops_is_the_same():
    flat, x = network(), torch.randn(4, 3)
    plain = flat(x)
    with interruptible(Event().is_set):
        assert torch.equal(flat(x), plain)


def test_other_threads_go_on():
    flat, results = network(), []
    with interruptible(lambda: True):
        thread = Thread(target=lambda: results.append(flat(torch.zeros(1, 3))))
        thread.start()
        thread.join()
        assert asked_now()
    assert len(results) == 1
    assert not asked_now()


def test_code_that_tries_again_after_an_error_does_not_try_again():
    flat, tries = network(), []
    with interruptible(lambda: True), pytest.raises(Interrupted):
        for _ in range(3):
            tries.append(1)
            try:
                flat(torch.zeros(1, 3))
            except Exception:
                continue
    assert len(tries) == 1
