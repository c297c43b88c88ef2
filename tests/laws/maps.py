"""Small networks over maps (N, 4, 9, 11), made of operations at random: local ones, global ones, and all between."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.evaluation import randomized
from tests.networks.local import Formula

C, H, W = 4, 9, 11


def values(*shape: int) -> Tensor:
    return torch.randn(shape)


class With(nn.Module):
    """A formula of maps, and of a buffer."""

    def __init__(self, formula: Callable[..., Tensor], buffer: Tensor, *layers: nn.Module) -> None:
        super().__init__()
        self.register_buffer("b", buffer)
        self.layers = nn.ModuleList(layers)
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x, self.b, *self.layers)


class Undecided(nn.Module):
    """Control flow that follows the data, so that it stays whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, C, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() < 1e9 else x


def written(x: Tensor) -> Tensor:
    copy = x * 1.0
    copy[:, :, 2:5] = copy[:, :, 3:6] * 0.5
    copy[:, 0].add_(1.0)
    return copy


def windowed(x: Tensor) -> Tensor:
    return F.fold(F.unfold(x, 3, padding=1), x.shape[-2:], 3, padding=1) / 9 + x.unfold(3, 2, 1).mean(-1).sum(3, True)


def attended(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return ((tokens @ tokens.transpose(1, 2) / 9).softmax(-1) @ tokens).transpose(1, 2).unflatten(2, x.shape[2:])


def last(formula: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A formula of maps with channels last, on maps with channels first."""
    return lambda x, *rest: formula(x.permute(0, 2, 3, 1), *rest).permute(0, 3, 1, 2)


def conv(out: int = C, *args, **kwargs) -> nn.Conv2d:
    return nn.Conv2d(C, out, *args, **kwargs)


# each takes maps (N, 4, 9, 11) to maps of the same shape
OPERATIONS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: conv(C, 3, padding=1),
    "conv dilated": lambda: conv(C, 3, padding="same", dilation=2),
    "conv circular": lambda: conv(C, 3, padding=1, padding_mode="circular"),
    "max pool": lambda: nn.MaxPool2d(3, 1, 1),
    "average pool": lambda: nn.AvgPool2d(3, 1, 1),
    "average of what is there": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "batch norm": lambda: nn.BatchNorm2d(C),
    "group norm": lambda: nn.GroupNorm(2, C),
    "instance norm": lambda: nn.InstanceNorm2d(C),
    "prelu": lambda: nn.PReLU(C),
    "gelu": nn.GELU,
    "dropout": lambda: nn.Dropout(0.4),
    "opaque": Undecided,
    "softmax along rows": lambda: nn.Softmax(-1),
    "norm along rows": lambda: nn.LayerNorm(W),
    "linear along rows": lambda: nn.Linear(W, W),
    "number first": lambda: Formula(lambda x: torch.tensor(2.0, dtype=x.dtype) * x),
    "made number first": lambda: Formula(lambda x: torch.arange(3).to(x.dtype).mean() * x),
    "buffer without dimensions first": lambda: With(lambda x, b: b * x, values()),
    "buffer without dimensions below": lambda: With(lambda x, b: b / (x * x + 1), values()),
    "buffer of one": lambda: With(lambda x, b: b - x, values(1)),
    "buffer per column": lambda: With(lambda x, b: b * x, values(W)),
    "buffer per place": lambda: With(lambda x, b: b[: x.shape[2], : x.shape[3]] + x, values(20, 20)),
    "buffer per channel": lambda: With(lambda x, b: b * x, values(C, 1, 1)),
    "buffer of all": lambda: With(lambda x, b: b.expand(x.shape[0], -1, -1, -1) + x, values(1, C, H, W)),
    "mask": lambda: With(lambda x, b: b * x, values(H, W) > 0),
    "masked": lambda: With(lambda x, b: x.masked_fill(b, 0.3), values(H, W) > 0),
    "mask of its own": lambda: Formula(lambda x: (x > x.mean((2, 3), keepdim=True)) * x),
    "gate": lambda: Formula(lambda x, a: a(x.mean((2, 3), keepdim=True)).sigmoid() * x, conv(C, 1)),
    "gate per place": lambda: Formula(lambda x, a: a(x).sigmoid() * x, conv(1, 3, padding=1)),
    "gate per column": lambda: Formula(lambda x, a: a(x.mean(2, keepdim=True)).sigmoid() * x, conv(C, 1)),
    "column of a convolution": lambda: Formula(lambda x, a: a(x) + x, conv(C, (H, 1))),
    "one place": lambda: Formula(lambda x: x[:, :, 4:5, 5:6] * x),
    "every other channel": lambda: Formula(lambda x: torch.cat([x[:, ::2], x[:, 1::2].relu()], 1)),
    "every other place": lambda: Formula(lambda x: x + F.interpolate(x[:, :, ::2, ::2], x.shape[-2:])),
    "chunks": lambda: Formula(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1)),
    "stack": lambda: Formula(lambda x: torch.stack([x, x.relu()], 1).mean(1)),
    "index": lambda: Formula(lambda x: x[:, [3, 0, 1, 2]] * x),
    "roll": lambda: Formula(lambda x: x.roll((1, 2), (2, 3)) - x),
    "flip": lambda: Formula(lambda x: x.flip(3) + x),
    "sum along": lambda: Formula(lambda x: x.cumsum(3) / 4),
    "sort": lambda: Formula(lambda x: x.sort(2).values),
    "crop": lambda: Formula(lambda x, a: F.pad(a(x) + x[:, :, 1:-1, 1:-1], (1, 1, 1, 1)), conv(C, 3)),
    "written": lambda: Formula(written),
    "windowed": lambda: Formula(windowed),
    "attention": lambda: Formula(attended),
    "shared": lambda: Formula(lambda x, a: a(a(x).relu().flip(2)), conv(C, 3, padding=1)),
    "sampled": lambda: With(
        lambda x, b: F.grid_sample(x, b.expand(x.shape[0], -1, -1, -1), align_corners=False), values(1, H, W, 2).tanh()
    ),
    "positions": lambda: Formula(
        lambda x, a: a(torch.cat([torch.arange(x.shape[3]).to(x).expand(x.shape[0], 1, x.shape[2], -1) / 9, x], 1)),
        nn.Conv2d(C + 1, C, 3, padding=1),
    ),
    "shuffle": lambda: Formula(lambda x: x.view(-1, 2, 2, H, W).transpose(1, 2).reshape(x.shape)),
    "seen as another shape": lambda: Formula(lambda x: x.reshape(-1, H, W, C).permute(0, 3, 1, 2)),
    "last: norm": lambda: Formula(last(lambda x, a: a(x)), nn.LayerNorm(C)),
    "last: linear": lambda: Formula(last(lambda x, a, b: b(F.gelu(a(x)))), nn.Linear(C, 6), nn.Linear(6, C)),
    "last: gamma first": lambda: With(last(lambda x, b: b * x), values(C)),
    "last: gamma": lambda: With(last(lambda x, b: x * b), values(C)),
    "last: gamma of four dimensions first": lambda: With(last(lambda x, b: b * x), values(1, 1, 1, C)),
    "last: places first": lambda: With(last(lambda x, b: b + x), values(1, H, W, C)),
    "last: number first": lambda: With(last(lambda x, b: b * x * 2), values()),
    "last: rows first": lambda: With(last(lambda x, b: b + x), values(W, C)),
    "last: counted from behind": lambda: Formula(
        lambda x, a: a(x.permute(0, -2, -1, 1)).permute(0, -1, 1, 2), nn.Linear(C, C)
    ),
    "last: by swapping": lambda: Formula(
        lambda x, a: a(x.transpose(1, 2).transpose(2, 3)).transpose(2, 3).transpose(1, 2), nn.Linear(C, C)
    ),
    "last: joined": lambda: Formula(
        last(lambda x, a: a(torch.cat([x, x.relu()], -1)) + torch.cat([x[:, :3], x[:, 3:].relu()], 1)),
        nn.Linear(2 * C, C),
    ),
    "last: softmax": lambda: Formula(last(lambda x: x.softmax(-1))),
}
JOINS = {
    "sum": lambda x, old: old + x,
    "product": lambda x, old: x * old.sigmoid(),
    "gate": lambda x, old: old.mean((2, 3), keepdim=True) * x,
    "cat": lambda x, old: torch.cat([old[:, :2], x[:, 2:]], 1),
    "where": lambda x, old: torch.where(x > 0, x, old),
}
HEADS = {
    "all": lambda: nn.Sequential(nn.Flatten(), nn.Linear(C * H * W, 3)),
    "mean": lambda: Formula(lambda x, a: a(x.mean((2, 3))), nn.Linear(C, 3)),
    "max": lambda: Formula(lambda x, a: a(x.amax((-1, -2))), nn.Linear(C, 3)),
}


class Generated(nn.Module):
    """A few operations at random, some of which meet what an earlier one gave."""

    def __init__(self, seed: int, first: str | None = None) -> None:
        super().__init__()
        draw = random.Random(seed)
        names = draw.choices(list(OPERATIONS), k=draw.randint(1, 5))
        self.names = names if first is None else [first, *names[1:]]
        self.stages = nn.ModuleList([OPERATIONS[name]() for name in self.names])
        self.joins = [
            (draw.choice(list(JOINS)), draw.randint(0, i)) if draw.random() < 0.4 else None
            for i in range(len(self.names))
        ]
        self.head = HEADS[draw.choice(list(HEADS))]()

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for stage, join in zip(self.stages, self.joins, strict=True):
            x = stage(x)
            if join is not None:
                x = JOINS[join[0]](x, maps[join[1]])
            maps.append(x)
        return self.head(x)


def generated(seed: int, first: str | None = None) -> tuple[nn.Module, Tensor, random.Random]:
    torch.manual_seed(seed)
    network = randomized(Generated(seed, first), seed).double().eval()
    return network, torch.randn(2, C, H, W, dtype=torch.float64), random.Random(seed)


def alone(network: nn.Module, variants: Tensor) -> Tensor:
    """What the module itself gives for each of them, one by one."""
    with torch.no_grad():
        return torch.cat([network(variant[None].clone()) for variant in variants])
