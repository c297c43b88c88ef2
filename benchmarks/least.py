"""The least possible work of exact methods, written in plain torch. Netlens is compared with it.

Weights are frozen, batch norms are folded by torch.fx, convolutions have channels last, and only what the result needs
runs. Each function takes a network that `prepared` has made.
"""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse


def prepared(network: nn.Module) -> nn.Module:
    """A faster copy of the network. Its output is the same up to rounding."""
    return fuse(copy.deepcopy(network).eval()).to(memory_format=torch.channels_last).requires_grad_(False)


def forward(network: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        output: Tensor = network(x.contiguous(memory_format=torch.channels_last))
        return output


def gradient(network: nn.Module, x: Tensor, target: int) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    return torch.autograd.grad(network(x)[:, target].sum(), x)[0]


def saliency(network: nn.Module, x: Tensor, target: int) -> Tensor:
    return gradient(network, x, target).abs()


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float) -> Tensor:
        y = x.clamp(0, top)
        ctx.save_for_backward(x)
        ctx.top = top
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return gradients[0].clamp(min=0) * ((x > 0) & (x < ctx.top)), None


class _Guided(nn.Module):
    def __init__(self, top: float) -> None:
        super().__init__()
        self.top = top

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = _GuidedReLU.apply(x, self.top)
        return output


def guided(network: nn.Module) -> nn.Module:
    """A prepared network with guided rectifiers. It is made once."""
    if network not in _GUIDED:
        _GUIDED[network] = copy_ = copy.deepcopy(network)
        for name, module in list(copy_.named_modules()):
            if isinstance(module, (nn.ReLU, nn.ReLU6)):
                owner = copy_.get_submodule(name.rpartition(".")[0])
                setattr(owner, name.rpartition(".")[2], _Guided(6.0 if isinstance(module, nn.ReLU6) else float("inf")))
    return _GUIDED[network]


_GUIDED: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def integrated_gradients(network: nn.Module, x: Tensor, target: int, n_steps: int = 50, chunk: int = 10) -> Tensor:
    nodes, sizes = np.polynomial.legendre.leggauss(n_steps)
    alphas = torch.tensor((nodes + 1) / 2, dtype=x.dtype).view(-1, 1, 1, 1)
    weights = torch.tensor(sizes / 2, dtype=x.dtype).view(-1, 1, 1, 1)
    total = torch.zeros_like(x)
    for alpha, weight in zip(alphas.split(chunk), weights.split(chunk), strict=True):
        points = (alpha * x).contiguous(memory_format=torch.channels_last).requires_grad_()
        (gradient,) = torch.autograd.grad(network(points)[:, target].sum(), points)
        total += (weight * gradient).sum(0, keepdim=True)
    return total * x


def _to_layer(network: nn.Module, x: Tensor, layer: str, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """The scores, the activation of a layer and the gradient there; no graph exists before the layer."""
    activations = []

    def start(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        activations.append(output.detach().requires_grad_())
        return activations[-1]

    handle = network.get_submodule(layer).register_forward_hook(start)
    try:
        scores = network(x.contiguous(memory_format=torch.channels_last))[:, target]
    finally:
        handle.remove()
    return scores.detach(), activations[-1], torch.autograd.grad(scores.sum(), activations[-1])[0]


def grad_cam(network: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    _, activation, gradient = _to_layer(network, x, layer, target)
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1, keepdim=True).clamp(min=0).detach()


def ablation_cam(network: nn.Module, x: Tensor, layer: str, target: int) -> Tensor:
    """For a layer before a mean and a linear layer: the relative decrease of the score is weight times mean."""
    scores, activation, gradient = _to_layer(network, x, layer, target)
    falls = (gradient * activation).sum((2, 3), keepdim=True) / scores.view(-1, 1, 1, 1)
    with torch.no_grad():
        return (falls * activation).sum(1, keepdim=True).clamp(min=0)


def covered(network: nn.Module, x: Tensor, target: int, window: int, stride: int, chunk: int = 16) -> Tensor:
    """One full forward for each window: the least work without incremental runs."""
    tops, lefts = (range(0, size - window + stride, stride) for size in x.shape[2:])
    windows = [(top, left) for top in tops for left in lefts]
    with torch.inference_mode():
        before = network(x.contiguous(memory_format=torch.channels_last))[:, target]
        total, cover = torch.zeros_like(x), torch.zeros_like(x)
        for start in range(0, len(windows), chunk):
            batch = windows[start : start + chunk]
            variants = x.repeat(len(batch), 1, 1, 1).contiguous(memory_format=torch.channels_last)
            for variant, (top, left) in zip(variants, batch, strict=True):
                variant[:, top : top + window, left : left + window] = 0
            for fall, (top, left) in zip(before - network(variants)[:, target], batch, strict=True):
                total[..., top : top + window, left : left + window] += fall
                cover[..., top : top + window, left : left + window] += 1
        return total / cover.clamp(min=1)
