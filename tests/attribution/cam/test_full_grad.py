"""Full gradients: nothing of the objective is left out, and each part is the bias's own gradient times the bias."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.testing import assert_close

from netlens.attribution import FullGrad, full_gradients
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.heatmaps import normalize
from netlens.objectives import Record, channel, layer, logit


def test_parts_sum_to_the_objective(case):
    """On every family: of rectifiers, and with the implicit biases of smooth layers also of attention."""
    for objective in (logit(list(case.targets)), logit(0) - 2 * channel(case.family.late, 1)):
        total = sum(part.flatten(1).sum(1) for _, part in full_gradients(case.flat, case.x, objective))
        value = objective(Record(case.flat, case.flat.record(case.x, layers=["output", case.family.late])))
        assert_close(total, value.detach(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["resnet", "densenet", "branches", "plain", "vectors"])
def test_each_part_is_the_gradient_of_its_bias(cases, name):
    """Biases of convolutions and linear layers by autograd on the network itself."""
    case = cases[name]
    module = copy.deepcopy(case.module)
    module(case.x[:1]).flatten(1)[0, case.targets[0]].backward()
    parts = dict(full_gradients(case.flat, case.x[:1], logit(case.targets[0])))
    checked = 0
    for key, part in module.named_modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)) and part.bias is not None:
            expected = part.bias.grad * part.bias.detach()
            ours = parts[key].flatten(2).sum(2)[0] if parts[key].ndim == 4 else parts[key][0]
            assert_close(ours, expected, rtol=1e-9, atol=1e-12)
            checked += 1
    assert checked == sum(isinstance(p, (nn.Conv2d, nn.Linear)) and p.bias is not None for p in module.modules()) > 0


def test_the_bias_of_a_batch_norm_is_what_it_adds(cases):
    """Shift less scaled mean: the same network with its batch norm as a scale and a bias has the same part."""
    case = cases["branches"]
    norm = case.module.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = (norm.bias - scale * norm.running_mean).detach()
    parts = dict(full_gradients(case.flat, case.x, logit(1)))
    shift = torch.zeros_like(bias, requires_grad=True)
    module = copy.deepcopy(case.module)
    module.norm.register_forward_hook(lambda _, inputs, output: output + shift[:, None, None])
    module(case.x[:1])[0, 1].backward()
    assert_close(parts["norm"][:1].sum((2, 3))[0], shift.grad * bias, rtol=1e-9, atol=1e-12)


def test_layers_without_a_bias_have_no_part(cases):
    keys = [key for key, _ in full_gradients(cases["branches"].flat, cases["branches"].x, logit(0))]
    assert keys == ["input", "norm", "one", "three", "after", "head"]


def test_the_map_is_the_sum_of_normalized_channels(cases):
    case = cases["plain"]
    parts = dict(full_gradients(case.flat, case.x, logit(1)))
    expected = 0
    for part in (parts["input"], parts["trunk.0"], parts["trunk.3"]):
        for k in range(part.shape[1]):
            expected = expected + F.interpolate(
                normalize(part[:, k : k + 1].abs(), q=100), case.x.shape[2:], mode="bilinear"
            )
    result = FullGrad()(case.flat, case.x, logit(1))
    assert_close(result.values, expected)
    assert result.diagnostics["completeness_gap"].abs().max() < 1e-12


def test_what_a_square_hides_is_named(cases):
    """An objective that is not linear in what it reads is not complete: of x^2 the tangent explains 2 x^2."""
    case = cases["plain"]
    result = FullGrad()(case.flat, case.x, layer("trunk.4"))
    value = case.flat(case.x, until="trunk.4").flatten(1).square().mean(1).detach()
    assert_close(result.diagnostics["completeness_gap"], value)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "efficientnet_b0", "squeezenet1_1"])
def test_gates_shuffles_and_smooth_rectifiers_are_complete_too(name):
    flat = FlatModel.from_nn_Module(randomized(torchvision.models.get_model(name, num_classes=4)).double())
    x = torch.randn(1, 3, 40, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total = sum(part.flatten(1).sum(1) for _, part in full_gradients(flat, x, logit(2)))
    assert_close(total, flat(x)[:, 2].detach(), rtol=1e-9, atol=1e-9)
