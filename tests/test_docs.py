"""The code in the docs runs as it stands, and a rule of five lines is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from netlens.attribution import InputXGradient
from netlens.flat import FlatModel
from netlens.objectives import logit

ROOT = Path(__file__).parents[1]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.fixture
def namespace(monkeypatch) -> dict[str, Any]:
    monkeypatch.chdir(ROOT)
    found: dict[str, Any] = {}
    for block in blocks("docs/rules.md"):
        exec(compile(block, "docs/rules.md", "exec"), found)
    return found


def test_the_page_on_rules_runs(namespace):
    values = namespace["relevance_of_layers"]
    assert list(values) == ["input", "trunk_output.block2.block2-1.activation"]
    assert all(v.isfinite().all() and v.count_nonzero() for v in values.values())
    assert namespace["values"].isfinite().all()


def test_its_rule_is_rect_grad(namespace):
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3)).double()
    x = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    flat = FlatModel.from_nn_Module(network)
    values = InputXGradient()(flat.with_rules(namespace["RECTGRAD"]), x, logit(0)).values
    for one, found in zip(x, values, strict=True):
        before = network[0].weight @ one + network[0].bias
        product = before.clamp(min=0) * network[2].weight[0]
        most = product.topk(4).indices  # of 40, the quantile 0.9 lies between the fifth and the fourth largest
        slope = torch.zeros(40, dtype=torch.float64)
        slope[most] = network[2].weight[0, most]
        assert (before[most] > 0).all()
        assert_close(found, (network[0].weight.T @ slope) * one)
