"""The matrix of networks: passes on a network that is unrolled right, and fails, loudly, on one that is not."""

from __future__ import annotations

import pytest
from torch import nn

from benchmarks import matrix


def test_a_network_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert matrix.main(["squeezenet1_1"]) == 0
    assert "| squeezenet1_1 | 66 | 0 | equal |" in capsys.readouterr().out


def test_a_network_that_differs_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Wrong(nn.Module):
        def __init__(self, flat: nn.Module) -> None:
            super().__init__()
            self.flat, self.layers, self.opaque, self.adapter = flat, flat.layers, flat.opaque, flat.adapter

        def forward(self, x: object) -> object:
            return self.flat(x) * 1.001

    real = matrix.FlatModel.from_nn_Module
    monkeypatch.setattr(matrix.FlatModel, "from_nn_Module", lambda network: Wrong(real(network)))
    assert matrix.main(["squeezenet1_1"]) == 1
    assert "failed: squeezenet1_1" in capsys.readouterr().out
