"""Files of results and drawings: made one at a time, once each; what goes wrong is told in a line."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from netlens.errors import NetLensError
from netlens.playground import Studio, _files
from netlens.playground._drawing import Drawing
from netlens.playground._dream import grow
from netlens.playground._wish import CHANNEL, DREAM, Wish


@pytest.fixture(scope="module")
def new_studio(studio):
    return Studio(studio.flat)


@pytest.fixture(scope="module")
def home(served, new_studio):
    return served(new_studio)


@pytest.fixture
def key(new_studio):
    """The key of a new drawing."""
    looks: list[Drawing] = []
    grow(new_studio, Wish(CHANNEL, "stem.0", 1, options="draw.steps=2&draw.size=24"), looks.append)
    return looks[-1].key


def fetch(address):
    """The status of an answer, and its body."""
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_name_has_no_dashes_that_divide_nothing(new_studio, home):
    looks: list[Drawing] = []
    wish = Wish(DREAM, "trunk_output.block2", picture="scene 1", options="dream.steps=1&dream.size=32")
    grow(new_studio, wish, looks.append)
    with urllib.request.urlopen(f"{home}drawing/{looks[-1].key}.png", timeout=30) as answer:
        name = answer.headers.get_filename()
    assert name == "shapes-DeepDream-layer-trunk_output.block2.block2-1.activation.png"


def test_files_are_made_one_at_a_time_and_once(home, key, monkeypatch):
    running, most, lock = [], [], threading.Lock()

    def film_of(kind):
        def film(*_):
            with lock:
                running.append(kind)
                most.append(len(running))
            time.sleep(0.1)
            with lock:
                running.remove(kind)
            return kind.encode()

        return film

    monkeypatch.setattr(_files, "gif", film_of("gif"))
    monkeypatch.setattr(_files, "mp4", film_of("mp4"))
    addresses = [f"{home}drawing/{key}.{kind}" for kind in ("gif", "mp4") * 3]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(fetch, addresses))
    assert answers == [(200, b"gif"), (200, b"mp4")] * 3
    assert most == [1, 1]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NetLensError("no\n such film"), b"no such film"),
        (OSError("the disk is full"), b"the disk is full"),
        (MemoryError(), b"there is not enough memory; choose a smaller size, or a smaller picture."),
    ],
)
def test_what_goes_wrong_is_told_in_one_line_and_may_be_asked_again(home, key, error, message, monkeypatch):
    def failing(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(_files, "gif", failing)
        assert fetch(f"{home}drawing/{key}.gif") == (422, message)
    status, data = fetch(f"{home}drawing/{key}.gif")
    assert status == 200 and data.startswith(b"GIF8")


def test_what_is_not_here_is_told(home, key):
    for path in ("drawing/nothing.png", f"drawing/{key}.npz", f"result/{key}.png"):
        assert fetch(home + path)[0] == 404
