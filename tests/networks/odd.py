"""Small networks as users write them: each with one oddity that a trace has to get right.

`NETWORKS` maps a name to a function that makes (network, inputs).
"""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from torch import Tensor, nn

NETWORKS = {}
Pair = namedtuple("Pair", "scores features")


def network(cls):
    """Register a class whose instances take one image (2, 3, 8, 8)."""
    NETWORKS[cls.__name__] = lambda: (cls(), (torch.randn(2, 3, 8, 8),))
    return cls


def conv(channels: int = 3, out: int = 3) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1)


@network
class NestedLists(nn.Module):
    """Modules in plain Python lists, tuples and dicts, which torch itself does not register."""

    def __init__(self):
        super().__init__()
        self.blocks = [[conv(), nn.ReLU(inplace=True)], (conv(), {"norm": nn.BatchNorm2d(3).eval(), "act": nn.GELU()})]

    def forward(self, x):
        for first, second in self.blocks:
            x = first(x)
            x = second["act"](second["norm"](x)) if isinstance(second, dict) else second(x)
        return x


@network
class Reused(nn.Module):
    """One block called three times, and one of its layers by itself."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU(inplace=True))

    def forward(self, x):
        return self.block[0](self.block(self.block(x)) + self.block(x))


@network
class MadeOnTheFly(nn.Module):
    """Modules made inside forward."""

    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        return nn.Flatten()(nn.ReLU(inplace=True)(nn.AvgPool2d(2)(nn.ReLU()(self.conv(x)))))


@network
class Branches(nn.Module):
    """`*`, `+` and `-` between branches, and with Python numbers and parameters from both sides."""

    def __init__(self):
        super().__init__()
        self.left, self.right = conv(), conv()
        self.scale = nn.Parameter(torch.full((3, 1, 1), 0.3))
        self.register_buffer("shift", torch.arange(3.0).view(3, 1, 1))
        self.plain = torch.ones(3, 1, 1)

    def forward(self, x):
        left, right = self.left(x), self.right(x)
        gated = left * torch.sigmoid(right) + self.scale * (1 - left) / 3
        return (2**0.5 * gated - self.shift + self.plain) / 2 - x


class SeveralInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, image, *, weight, scale=2.0, mask: Tensor | None = None, flip=False):
        y = self.conv(image) * weight * scale
        if mask is not None:
            y = y * mask
        return y.flip(-1) if flip else y


NETWORKS["SeveralInputs"] = lambda: (SeveralInputs(), (torch.randn(2, 3, 8, 8), torch.randn(2, 1, 1, 1)))


@dataclass
class Scores:
    scores: Tensor
    hidden: Tensor


@network
class NestedOutput(nn.Module):
    """Dict, tuple, list, named tuple and constants in the output, one tensor twice."""

    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        y = self.conv(x)
        pair = Pair(y.mean((2, 3)), y)
        return OrderedDict(out=y, more=(pair, [x, None, 3.5, "name"]), size=y.shape[-1], none={})


@network
class DataclassOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        y = self.conv(x)
        return Scores(scores=y.mean((2, 3)), hidden=y)


@network
class TiedWeights(nn.Module):
    """One weight in two layers, and once more by a function."""

    def __init__(self):
        super().__init__()
        self.first, self.second = conv(), conv()
        self.second.weight = self.first.weight

    def forward(self, x):
        return F.conv2d(self.second(self.first(x)), self.first.weight, self.second.bias, padding=1)


@network
class Parametrised(nn.Module):
    """Weights that torch computes: both kinds of weight norm, spectral norm, and a parametrization of one's own."""

    def __init__(self):
        super().__init__()
        self.new = nn.utils.parametrizations.weight_norm(conv())
        self.spectral = nn.utils.parametrizations.spectral_norm(conv())
        self.symmetric = conv()
        nn.utils.parametrize.register_parametrization(self.symmetric, "weight", Symmetric())
        with torch.no_grad():  # so that it can be deep-copied
            self.pruned = nn.utils.prune.l1_unstructured(conv(), "weight", 0.5)

    def forward(self, x):
        return self.pruned(self.symmetric(self.spectral(self.new(x))))


class Symmetric(nn.Module):
    def forward(self, weight):
        return (weight + weight.flip(-1)) / 2


@network
class NormsWithoutStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.Sequential(
            nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3, affine=True), nn.GroupNorm(3, 3)
        )

    def forward(self, x):
        return F.layer_norm(self.norms(x), x.shape[1:])


@network
class ShapeArithmetic(nn.Module):
    """Sizes in many spellings, assertions on them, and tensors made from them."""

    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        n, c, h, w = x.shape
        assert c == 3, "three channels"
        torch._assert(h == w, "a square")
        y = self.conv(x).view(n, c, -1).permute(0, 2, 1)
        side = 8
        grid = torch.arange(h * w, device=x.device, dtype=x.dtype).view(1, -1, 1) / (h * w)
        y = y + grid + y.new_zeros(y.size(1), 1)
        y = y.reshape(y.size(0), side, x.size(-1), c).movedim(-1, 1)
        y = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return F.adaptive_avg_pool2d(y, (h // 2, w // 2)) * (x.ndim / x.shape[0]) + x.dim()


@network
class Spellings(nn.Module):
    """Function, method, operator and module forms of the same operations; transposes as attributes."""

    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        y = self.conv(input=x)
        y = torch.relu(F.relu(y.relu(), inplace=False)) + y.clamp(min=0).mT
        y = torch.cat([y, F.pad(x, (0, 0)), x], dim=1).softmax(1)
        values, places = F.max_pool2d(y, kernel_size=2, return_indices=True)
        y = y + F.adaptive_max_pool2d(y, y.shape[-2:], return_indices=True)[0]
        y = F.max_unpool2d(values, places, 2) + torch.stack([y, y]).sum(0)
        a, b, c = torch.split(y, 3, dim=1)
        mixed = torch.einsum("nchw,nchv->nwv", a, b) @ c[:, 0, ..., None].squeeze(-1)
        return torch.matmul(mixed, x[:, 0]).T.permute(2, 1, 0).abs().sqrt().max(1).values - (-mixed).amin(2)


@network
class WithDefaults(nn.Module):
    """Every argument but the first has a default, and a submodule is called by keywords alone."""

    def __init__(self):
        super().__init__()
        self.inner = SeveralInputs()

    def forward(self, x=None, power=2, names=("a", "b")):
        return self.inner(image=x, weight=x.mean(), scale=power) ** power + len(names)


@torch.fx.wrap
def halves(x, at):
    return x[:, :at].sum().item() + x[:, at:]


@network
class Wrapped(nn.Module):
    """A function that the trace shall not look into."""

    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        return halves(self.conv(x), 1) * 2


@network
class Scripted(nn.Module):
    """A child compiled by TorchScript, in training mode, with an in-place operation on what the parent reads again."""

    def __init__(self):
        super().__init__()
        self.conv = conv()
        self.child = torch.jit.script(nn.Sequential(conv(), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.ReLU(True)))

    def forward(self, x):
        y = self.conv(x)
        return y + self.child(y)


@network
class Stateful(nn.Module):
    """Keeps what it has seen, as an attribute, and counts in a buffer."""

    calls: torch.Tensor

    def __init__(self):
        super().__init__()
        self.conv = conv()
        self.maps = None
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls = self.calls + 1
        self.maps = self.conv(x)
        return self.maps * 2
