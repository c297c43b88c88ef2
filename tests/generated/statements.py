"""What a generated forward may do: each statement takes maps (N, 4, 6, 5) and gives maps of the same shape.

A statement is Python code, so that a module that fails can be printed, and any of its statements can be left out.
"""

from __future__ import annotations

from dataclasses import dataclass

PRELUDE = '''
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Halves(nn.Module):
    """Its control flow depends on the data, and it counts, averages and remembers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.calls = 0
        self.register_buffer("mean", torch.rand(4))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        self.mean.mul_(0.9).add_(x.detach().mean((0, 2, 3)) * 0.1)
        if bool((self.mean.abs() < 1e30).all()):
            x = self.conv(x)
        return F.relu(x) - self.mean.view(-1, 1, 1) / 8


class Trains(nn.Module):
    """A batch norm that its forward puts into train mode, in a part that cannot be traced."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        self.norm.train()
        return self.norm(x) if len(x.tolist()) else x


class Symmetric(nn.Module):
    def forward(self, weight):
        return (weight + weight.flip(-1)) / 2


def grid_of(x, shift=0.0):
    down, right = torch.meshgrid(torch.linspace(-0.8, 0.9, 6), torch.linspace(-0.9, 0.7, 5), indexing="ij")
    return (torch.stack([right, down], -1).to(x) + shift)[None]
'''


@dataclass(frozen=True)
class Template:
    """A statement before its names are filled in.

    `{o}` is the value that it gives, `{x}` and `{y}` the values that it reads, `{i}` a number of its own. `init` are
    lines of the constructor. traits: what laws ask for ("opaque", "random", "discrete", "mixing", "kept" state).
    """

    name: str
    lines: str
    init: str = ""
    traits: frozenset[str] = frozenset()

    @property
    def several(self) -> bool:
        """Whether it reads two values."""
        return "{y}" in self.lines


def _t(name: str, lines: str, init: str = "", *traits: str) -> Template:
    return Template(name, lines, init, frozenset(traits))


_CONV = "self.m{i} = nn.Conv2d(4, 4, 3, padding=1)"
_GRU = "self.m{i} = nn.GRU(20, 20, batch_first=True)"

TEMPLATES: tuple[Template, ...] = (
    # layers
    _t("conv", "{o} = self.m{i}({x})", _CONV),
    _t("depthwise", "{o} = self.m{i}({x})", "self.m{i} = nn.Conv2d(4, 4, (5, 1), padding=(2, 0), groups=4)"),
    _t(
        "strided",
        "{o} = F.interpolate(self.m{i}({x}), size={x}.shape[-2:], mode='bilinear')",
        "self.m{i} = nn.Conv2d(4, 4, 3, stride=2, padding=1)",
    ),
    _t("transposed conv", "{o} = self.m{i}({x})", "self.m{i} = nn.ConvTranspose2d(4, 4, 3, padding=1)"),
    _t("batch norm", "{o} = self.m{i}({x})", "self.m{i} = nn.BatchNorm2d(4)"),
    _t(
        "functional batch norm",
        "{o} = F.batch_norm({x}, self.m{i}.running_mean, self.m{i}.running_var, self.m{i}.weight, self.m{i}.bias)",
        "self.m{i} = nn.BatchNorm2d(4)",
    ),
    _t("group norm", "{o} = self.m{i}({x})", "self.m{i} = nn.GroupNorm(2, 4)"),
    _t("instance norm", "{o} = self.m{i}({x})", "self.m{i} = nn.InstanceNorm2d(4, affine=True)"),
    _t("layer norm", "{o} = self.m{i}({x}.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)", "self.m{i} = nn.LayerNorm(4)"),
    _t("layer norm of sizes", "{o} = F.layer_norm({x}, {x}.shape[1:])"),
    _t("linear over channels", "{o} = self.m{i}({x}.movedim(1, -1)).movedim(-1, 1)", "self.m{i} = nn.Linear(4, 4)"),
    _t(
        "linear over all",
        "{o} = {x} + self.m{i}({x}.flatten(1)).view({x}.size(0), 4, 6, 5)",
        "self.m{i} = nn.Linear(120, 120)",
    ),
    _t("dropout", "{o} = F.dropout(self.m{i}({x}), 0.5, self.training)", "self.m{i} = nn.Dropout(0.5)"),
    # activations
    _t("relu", "{o} = F.relu({x})"),
    _t("relu in place", "{o} = F.relu({x} * 1.5, inplace=True)"),
    _t("module relu in place", "{o} = self.m{i}({x} - 0.1)", "self.m{i} = nn.ReLU(inplace=True)"),
    _t("gelu", "{o} = F.gelu({x})"),
    _t("silu", "{o} = self.m{i}({x})", "self.m{i} = nn.SiLU()"),
    _t("hardswish", "{o} = F.hardswish({x})"),
    _t("leaky relu", "{o} = F.leaky_relu({x}, 0.2)"),
    _t("prelu", "{o} = F.prelu({x}, self.m{i})", "self.m{i} = nn.Parameter(torch.rand(4))"),
    _t("tanh", "{o} = {x}.tanh() + {x} / 4"),
    _t("written relu", "{o} = {x} * ({x} > 0)"),
    _t("maximum of zeros", "{o} = torch.maximum({x}, torch.zeros_like({x}))"),
    _t("written silu", "{o} = {x} * torch.sigmoid({x})"),
    # pools and neighborhoods
    _t("max pool", "{o} = F.max_pool2d({x}, 3, 1, 1)"),
    _t("average pool", "{o} = F.avg_pool2d({x}, 3, 1, 1)"),
    _t("pool and upsample", "{o} = F.interpolate(F.max_pool2d({x}, 2, 2), size=(6, 5))"),
    _t("unfold", "{o} = F.unfold({x}, 3, padding=1).view(-1, 4, 9, 6, 5).mean(2)"),
    _t("thinned", "{o} = {x} + F.interpolate({x}[:, :, ::2], size=(6, 5))"),
    _t(
        "grid sample of a buffer",
        "{o} = F.grid_sample({x}, self.m{i}.expand({x}.size(0), -1, -1, -1), align_corners=False)",
        "self.register_buffer('m{i}', grid_of(torch.zeros(1)))",
    ),
    _t(
        "grid sample of x",
        "g{i} = grid_of({x}) + 0.1 * torch.tanh({y}[:, :2]).permute(0, 2, 3, 1)\n"
        "{o} = F.grid_sample({x}, g{i}, align_corners=False)",
    ),
    # branches
    _t("add", "{o} = {x} + {y}"),
    _t("subtract", "{o} = {x} - 0.5 * {y}"),
    _t("gate", "{o} = {x} * torch.sigmoid({y})"),
    _t("product", "{o} = {x} * {y} / 4"),
    _t("quotient", "{o} = {x} / (1.5 + {y}.abs())"),
    _t("squeeze and excite", "{o} = {x} * torch.sigmoid({x}.mean((2, 3), keepdim=True))"),
    _t("global mean scales", "{o} = {x} * (1 + {y}.mean().tanh() / 4)", "", "mixing"),
    _t("cat", "{o} = self.m{i}(torch.cat([{x}, {y}], 1))", "self.m{i} = nn.Conv2d(8, 4, 1)"),
    _t("stack", "{o} = torch.stack([{x}, {y}]).sum(0) / 2"),
    _t("halves exchanged", "{o} = torch.cat([{x}[:, 2:], {y}[:, :2]], dim=1)"),
    _t("channels shuffled", "{o} = {x}.view(-1, 2, 2, 6, 5).transpose(1, 2).reshape(-1, 4, 6, 5)"),
    _t("maximum", "{o} = torch.maximum({x}, {y})"),
    _t("where", "{o} = torch.where({x} > 0, {x}, 0.3 * {y})"),
    _t("masked", "{o} = {x}.masked_fill({y} < -0.5, 0.0)"),
    _t("mask", "{o} = {x} * ({y} > 0)"),
    _t("detached", "{o} = {x} + 0.5 * {x}.detach()", "", "detached"),
    _t("constants", "{o} = {x} + torch.ones_like({x}) - {x}.new_zeros(4, 1, 1) + {x}.new_tensor([0.5])"),
    # places
    _t("flipped", "{o} = {x}.flip(3) + 0.2 * {x}"),
    _t("rolled", "{o} = torch.roll({x}, 1, 2)"),
    _t("indexed", "{o} = {x}[:, [2, 0, 1, 3]]"),
    _t(
        "index select",
        "{o} = {x}.index_select(1, self.m{i})",
        "self.register_buffer('m{i}', torch.tensor([3, 0, 2, 1]))",
    ),
    _t("chunk", "a{i}, b{i} = {x}.chunk(2, dim=1)\n{o} = torch.cat([b{i}, a{i} * 2], 1)"),
    # numbers that come first
    _t("number first", "{o} = torch.tensor(0.7) * {x}"),
    _t("scalar buffer first", "{o} = self.m{i} * {x}", "self.register_buffer('m{i}', torch.tensor(1.3))"),
    _t("scalar made", "{o} = torch.arange(3.0).mean() * {x}"),
    _t(
        "layer scale",
        "{o} = (self.m{i} * {x}.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)",
        "self.m{i} = nn.Parameter(torch.rand(4))",
    ),
    # in place
    _t("in place", "{o} = {x} * 1\n{o} += 0.5"),
    _t("in place on a slice", "{o} = {x}.clone()\n{o}[:, 1:3].mul_(2)"),
    _t("in place on a row", "{o} = {x} * 1\nv{i} = {o}[:, :, 2]\nv{i} += 1"),
    _t("in place on chunks", "a{i}, b{i} = ({x} * 1).chunk(2, 1)\na{i}.add_(b{i})\n{o} = torch.cat([a{i}, b{i}], 1)"),
    _t("in place on a split, read whole", "{o} = {x} * 1\na{i}, b{i} = {o}.split(2, 1)\na{i}.mul_(0.5)"),
    _t("in place on an unbound row", "{o} = {x} * 1\nr{i} = {o}.unbind(2)\nr{i}[1].copy_(r{i}[0] * 2)"),
    _t("relu on a split", "p{i} = ({x} * 1).split(2, 1)\nF.relu_(p{i}[1])\n{o} = torch.cat([p{i}[1], p{i}[0]], 1)"),
    _t("set item", "{o} = {x}.clone()\n{o}[:, 1:3, ::2] = {y}[:, 1:3, ::2]"),
    _t("set by a mask", "{o} = {x}.clone()\n{o}[{x} < -0.5] = 0.0"),
    _t("in place through a view", "{o} = {x}.clone()\n{o}.flatten(2).view(-1, 4, 30)[:, 0].mul_(2)"),
    # reuse, sharing, parametrizations
    _t("reused", "{o} = self.m{i}(F.relu(self.m{i}({x})))", _CONV),
    _t("shared weight", "{o} = self.m{i}({x}) + F.conv2d({y}, self.m{i}.weight, padding=1)", _CONV),
    _t(
        "weight norm",
        "{o} = self.m{i}({x})",
        "self.m{i} = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1))",
    ),
    _t(
        "parametrized",
        "{o} = self.m{i}({x})",
        "self.m{i} = nn.Conv2d(4, 4, 3, padding=1)\n"
        "nn.utils.parametrize.register_parametrization(self.m{i}, 'weight', Symmetric())",
    ),
    _t(
        "spectral norm",
        "{o} = self.m{i}({x})",
        "self.m{i} = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))",
    ),
    _t("old weight norm", "{o} = self.m{i}({x})", "self.m{i} = nn.utils.spectral_norm(nn.Conv2d(4, 4, 1))"),
    # state
    _t(
        "counted",
        "self.n{i} += 1\nself.m{i}.mul_(0.9).add_({x}.mean((0, 2, 3)).detach() * 0.1)\n{o} = {x} * 1.1",
        "self.n{i} = 0\nself.register_buffer('m{i}', torch.rand(4))",
        "kept",
    ),
    _t("opaque that counts", "{o} = self.m{i}({x})", "self.m{i} = Halves()", "opaque", "kept", "mixing"),
    _t("opaque that trains", "{o} = self.m{i}({x})", "self.m{i} = Trains()", "opaque", "kept", "mixing"),
    _t(
        "functional statistics",
        "{o} = F.batch_norm({x}, self.m{i}.running_mean, self.m{i}.running_var, training=True)",
        "self.m{i} = nn.BatchNorm2d(4)",
        "kept",
        "mixing",
    ),
    # norms, attention and others
    _t("normalized", "{o} = F.normalize({x}, dim=1)"),
    _t("softmax", "{o} = {x}.softmax(1) + 0.1 * {x}"),
    _t("written softmax", "e{i} = ({x} - {x}.amax(1, keepdim=True)).exp()\n{o} = e{i} / e{i}.sum(1, keepdim=True)"),
    _t("deviation", "{o} = {x} / (0.2 + {x}.std(1, keepdim=True))"),
    _t("var_mean", "v{i}, u{i} = torch.var_mean({x}, 1, keepdim=True)\n{o} = ({x} - u{i}) / (v{i} + 1).sqrt()"),
    _t("rms", "{o} = {x} * torch.rsqrt({x}.pow(2).mean(1, keepdim=True) + 0.5)"),
    _t("cosine", "{o} = {x} * F.cosine_similarity({x}, {y}, dim=1).unsqueeze(1)", "", "jumps at 0"),
    _t(
        "attention",
        "t{i} = {x}.flatten(2).transpose(1, 2)\n"
        "{o} = F.scaled_dot_product_attention(t{i}, t{i}, t{i}).transpose(1, 2).reshape(-1, 4, 6, 5)",
    ),
    _t(
        "einsum attention",
        "t{i} = {x}.flatten(2)\ns{i} = torch.einsum('ncq,nck->nqk', t{i}, t{i}).softmax(-1)\n"
        "{o} = torch.einsum('nqk,nck->ncq', s{i}, t{i}).view(-1, 4, 6, 5)",
    ),
    _t("spectrum", "{o} = torch.fft.rfft2({x}, s=(6, 8)).abs() / 4"),
    _t("square root", "{o} = {x}.relu().sqrt()", "", "root"),
    _t(
        "affine grid of one sample",
        "{o} = F.grid_sample({x}, F.affine_grid(self.m{i}[None], {x}.shape, align_corners=False), align_corners=False)",
        "self.m{i} = nn.Parameter(torch.tensor([[0.9, 0.1, 0.0], [-0.1, 0.8, 0.1]]))",
        "single",
    ),
    # selections
    _t("sorted", "{o} = {x}.sort(1).values"),
    _t("largest", "{o} = {x}.topk(4, 1).values + 0.1 * {y}"),
    _t("kth", "{o} = {x} - {x}.kthvalue(2, 1, keepdim=True).values"),
    _t("less the largest", "v{i}, w{i} = {x}.max(1, keepdim=True)\n{o} = {x} - v{i} + 0 * w{i}"),
    _t("one hot", "{o} = {y} * F.one_hot({x}.argmax(1), 4).permute(0, 3, 1, 2).to({y}.dtype)", "", "discrete"),
    # recurrent
    _t(
        "gru",
        "r{i}, h{i} = self.m{i}({x}.transpose(1, 2).flatten(2))\n{o} = {x} + r{i}.view(-1, 6, 4, 5).transpose(1, 2)",
        _GRU,
    ),
    _t(
        "lstm",
        "r{i}, (h{i}, c{i}) = self.m{i}({x}.transpose(1, 2).flatten(2))\n"
        "{o} = {x} + r{i}.view(-1, 6, 4, 5).transpose(1, 2) + c{i}.mean(0).view(-1, 1, 4, 5).transpose(1, 2)",
        _GRU.replace("GRU", "LSTM"),
    ),
)
