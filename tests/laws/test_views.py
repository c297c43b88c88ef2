"""Views that are written into work under gradients, also where torch lets the original's only run without."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.flat import FlatModel


def chunks(x: Tensor) -> Tensor:
    first, second = (x * 1).chunk(2, 1)
    first.mul_(second)
    return torch.cat([first, second], 1)


def split_read_whole(x: Tensor) -> Tensor:
    x = x * 1
    first, second = x.split([1, 3], 1)
    first.add_(second[:, :1]).sigmoid_()
    return x


def rows(x: Tensor) -> Tensor:
    x = x * 1
    parts = x.unbind(2)
    parts[1].copy_(parts[0].tanh())
    parts[2][:, 1:] *= 2
    return x


def rectified(x: Tensor) -> Tensor:
    parts = (x * 1).tensor_split(2, 1)
    F.relu_(parts[1])
    return torch.cat([parts[1], parts[0]], 1)


def channels_last(x: Tensor) -> Tensor:
    parts = (x * 1).contiguous(memory_format=torch.channels_last).split(2, 1)
    parts[0].mul_(parts[1])
    return parts[0] + parts[1]


def of_a_view(x: Tensor) -> Tensor:
    x = x * 1
    parts = x.transpose(1, 2).chunk(2, 1)
    parts[1].mul_(3)
    return x


class Written(nn.Module):
    def __init__(self, write):
        super().__init__()
        self.conv, self.write = nn.Conv2d(3, 4, 3), write

    def forward(self, x):
        return self.write(self.conv(x)).square().sum((1, 2, 3))


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("write", [chunks, split_read_whole, rows, rectified, channels_last, of_a_view])
def test_the_gradient_is_that_of_finite_differences(write, format):
    torch.manual_seed(0)
    network = Written(write).double().eval()
    flat = FlatModel.from_nn_Module(network)
    x = torch.randn(2, 3, 7, 8, dtype=torch.float64).contiguous(memory_format=format)
    point = x.clone().requires_grad_()
    value = flat(point)
    (gradient,) = torch.autograd.grad(value.sum(), point)
    step = 1e-6
    with torch.no_grad():
        assert torch.equal(value, network(x))
        for place in range(0, x[0].numel(), 7):
            change = torch.zeros_like(x)
            c, h, w = place // 56, place // 8 % 7, place % 8
            change[:, c, h, w] = step
            slope = (network(x + change) - network(x - change)) / (2 * step)
            assert torch.allclose(gradient[:, c, h, w], slope, rtol=1e-6, atol=1e-7)
