"""The server starts and ends as a person at a terminal expects."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.browser  # long, like those in a browser


def test_an_interrupt_ends_it_quietly(interruptible):
    command = "from netlens.cli import main; main(['playground', '--no-browser', '--port', '0'])"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as program:
        try:
            assert "the playground is at http://127.0.0.1:" in program.stdout.readline()
            program.send_signal(signal.SIGINT)
            assert program.wait(30) == 0
            assert program.stdout.read() == ""
        finally:
            program.kill()  # else a failure would wait for it without end
