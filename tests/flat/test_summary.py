"""The summary: shapes as a real run has them, parameters counted once, nothing computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.weights import build


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "swin_t", "densenet121", "googlenet"])
def test_shapes_and_parameters(name: str) -> None:
    network = build(name)
    flat = FlatModel.from_nn_Module(network)
    summary = flat.summary()
    with torch.no_grad():
        run = flat.record(torch.zeros(1, 3, *flat.adapter.preprocessing.size), layers=list(flat.layers))
    for row in summary.rows:
        value = run[row.key]
        assert row.shape == (
            "x".join(map(str, value.shape)) if isinstance(value, torch.Tensor) else f"{len(value)} values"
        )
    # attention is written out on parts of the original's weights, which are views and count once each
    assert sum(row.parameters for row in summary.rows) == sum(p.numel() for p in network.parameters())


def test_it_prints_and_shows_itself() -> None:
    flat = FlatModel.from_nn_Module(build("resnet18"), name="resnet18")
    text = str(flat.summary())
    assert text.startswith("resnet18: 69 layers, 11,689,512 parameters")
    assert "layer4.1.relu_1" in text and "1x512x7x7" in text
    assert "<table" in flat._repr_html_()


def test_a_size_that_does_not_fit_is_a_clear_error_but_not_in_a_repr() -> None:
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(5, 2)))
    with pytest.raises(NetLensError, match=r"give another size: flat.summary\(\(1, channels, height, width\)\)"):
        flat.summary()
    assert "FlatModel(sequential: 1 layers" in flat._repr_html_()
    assert flat.summary((1, 5)).rows[0].shape == "1x2"
