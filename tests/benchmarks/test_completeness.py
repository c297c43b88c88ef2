"""The benchmark of completeness: passes on a network, and fails, loudly, where something of the change is missed."""

from __future__ import annotations

import pytest

from benchmarks import completeness
from netlens.rules import rescale


def test_a_network_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert completeness.main(["squeezenet1_1", "--size", "64"]) == 0
    shown = capsys.readouterr().out
    assert "| squeezenet1_1 | float64 | 64 | " in shown and "2 of 2 pass" in shown


def test_a_rule_that_is_missing_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rescale, "is_linear", lambda layer: True)
    assert completeness.main(["squeezenet1_1", "--size", "64", "--dtype", "float32"]) == 1
    assert "failed: squeezenet1_1 (float32)" in capsys.readouterr().out


def test_a_network_that_cannot_be_explained_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert completeness.main(["inception_v3", "--size", "16", "--dtype", "float32"]) == 1
    assert "failed: inception_v3 (float32)" in capsys.readouterr().out
