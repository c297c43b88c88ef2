"""`netlens playground`: what it opens, where, and what it refuses in one line."""

from __future__ import annotations

import builtins
import socket

import pytest
from PIL import Image

from tests.cli import commands

pytest.importorskip("gradio", reason="the playground needs gradio")


def run(*arguments):
    return commands.run("playground", *arguments)


@pytest.fixture
def served(monkeypatch):
    """The arguments with which the page would be served."""
    calls = []
    monkeypatch.setattr("netlens.playground.serve", lambda *arguments: calls.append(arguments))
    return calls


def test_without_options_it_is_for_this_machine_alone(served):
    assert run("--no-browser").exit_code == 0
    ((studio, host, port, browser, _),) = served
    assert (studio.model, host, port, browser) == ("shapes", "127.0.0.1", 7860, False)
    assert next(iter(studio.pictures)) == "scene 0"


def test_a_network_and_pictures_of_ones_own(served, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    result = run(
        "--model", "squeezenet1_1", "--weights", "random", "--images", str(tmp_path), "--host", "0.0.0.0", "--port", "0"
    )
    assert "random weights" in result.output
    ((studio, host, port, browser, _),) = served
    assert (studio.flat.name, studio.weights, list(studio.pictures)) == ("squeezenet1_1", "random", ["a.png"])
    assert (host, port, browser) == ("0.0.0.0", 0, True)


def test_a_wrong_folder_is_refused_before_the_page_opens(served, tmp_path):
    commands.failed(run("--images", str(tmp_path / "nowhere")), "is no folder")
    assert not served


def test_a_port_that_is_taken_is_told_in_one_line():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        result = run("--no-browser", "--port", str(listener.getsockname()[1]))
    commands.failed(result, "choose another --port")


def test_without_gradio_it_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name == "gradio":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    commands.failed(run(), "pip install 'netlens[playground]'")
