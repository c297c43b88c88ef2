"""`torch.compile` takes a flat model as it takes any module: in one graph, with the same answers and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from netlens.evaluation import randomized
from netlens.flat import FlatModel
from tests.networks.local import NETWORKS


class Recurrent(nn.Module):
    """A network that torch's compiler does not take."""

    def __init__(self):
        super().__init__()
        self.cells = nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        return self.cells(x)[0]


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_a_flat_model_compiles_in_one_graph(name):
    make, size = NETWORKS[name]
    torch.manual_seed(0)
    other = FlatModel.from_nn_Module(Recurrent().eval())  # it runs in the same process, and is not looked at
    other(torch.rand(1, 3, 4))
    flat = FlatModel.from_nn_Module(randomized(make()).double())
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    compiled = torch.compile(flat, backend="aot_eager", fullgraph=True)  # a backend that needs no C++ compiler
    answers = []
    for run in (flat, compiled):
        point = x.clone().requires_grad_()
        y = run(point)
        answers.append((y.detach(), torch.autograd.grad(y[:, 0].sum(), point)[0]))
    assert_close(answers[1], answers[0], rtol=1e-10, atol=1e-12)
