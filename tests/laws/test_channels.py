"""Where channels lie is known: attention over channels is no grid of tokens, and `gamma * maps` may have them last."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    AttentionMap,
    AttentionRollout,
    FeatureAblation,
    GradientRollout,
    LeGrad,
    Occlusion,
    SmoothGradient,
    together,
)
from netlens.attribution.attention import attention_maps
from netlens.errors import NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import logit

WIDTH, HEADS = 32, 2  # 16 channels of each head, as many as there are tokens: sizes alone tell nothing
METHODS = (AttentionMap(), AttentionMap(0), AttentionRollout(), GradientRollout(), LeGrad())


def over_channels(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """XCiT's cross-covariance attention of (N, heads, T, d)."""
    q, k = F.normalize(q.transpose(2, 3), dim=-1), F.normalize(k.transpose(2, 3), dim=-1)
    return ((q @ k.transpose(2, 3)).softmax(-1) @ v.transpose(2, 3)).transpose(2, 3)


def swapped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same as DaViT has it, where the queries are what is weighed."""
    return ((k * 0.25).transpose(-1, -2) @ v).softmax(-1).matmul(q.transpose(-1, -2)).transpose(-1, -2)


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = F.softmax(torch.einsum("bhtc,bhtd->bhcd", q, k), dim=-1)
    return torch.einsum("bhcd,bhtd->bhtc", weights, v)


def over_tokens(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1) / 4).softmax(-1) @ v


def tokens_by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bhts,bhsd->bhtd", F.softmax(torch.einsum("bhtd,bhsd->bhts", q, k), dim=-1), v)


Mixing = Callable[[Tensor, Tensor, Tensor], Tensor]


class Block(nn.Module):
    def __init__(self, mix: Mixing) -> None:
        super().__init__()
        self.norm, self.qkv, self.proj = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        return x + self.proj(self.mix(q, k, v).transpose(1, 2).reshape(n, t, c))


class Transformer(nn.Module):
    """Blocks of any attention on 4 by 4 patches of images of 16 by 16."""

    def __init__(self, *mixings: Mixing) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.blocks = nn.Sequential(*[Block(mix) for mix in mixings])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.patches(x).flatten(2).transpose(1, 2))).mean(1))


class OnMaps(nn.Module):
    """Queries, keys and values by convolutions, split into heads of channels; then a convolution, as in Restormer."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.head = nn.Conv2d(3, 48, 3, stride=4, padding=1), nn.Conv2d(16, 16, 1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2)[:, None].chunk(3, dim=2)
        mixed = torch.matmul(torch.softmax(q @ k.transpose(-2, -1), -1), v)
        return self.head(self.out(mixed[:, 0].unflatten(2, (4, 4))).mean((2, 3)))


class Edge(nn.Module):
    """A block of EdgeNeXt: convolutions of chunks, channel attention, and an MLP, each with a gamma."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels // 2, channels // 2, 3, padding=1, groups=channels // 2)
        self.norms = nn.ModuleList([nn.LayerNorm(channels), nn.LayerNorm(channels)])
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.temperature = nn.Parameter(torch.ones(2, 1, 1))
        self.up, self.down = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
        self.gammas = nn.ParameterList([torch.randn(channels), torch.randn(channels)])

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        first, second = x.chunk(2, dim=1)
        x = torch.cat([self.conv(first), second], 1)
        n, c, h, w = x.shape
        x = x.reshape(n, c, h * w).permute(0, 2, 1)
        q, k, v = self.qkv(self.norms[0](x)).reshape(n, h * w, 3, 2, -1).permute(2, 0, 3, 4, 1).unbind(0)
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)) * self.temperature
        x = x + self.gammas[0] * self.proj((weights.softmax(dim=-1) @ v).permute(0, 3, 1, 2).reshape(n, h * w, c))
        x = x.reshape(n, h, w, c)
        x = self.down(F.gelu(self.up(self.norms[1](x))))
        x = (self.gammas[1] * x).permute(0, 3, 1, 2)
        return shortcut + x


class EdgeNeXt(nn.Module):
    """What comes first is ConvNeXt's: a convolution, and an MLP on channels last with a gamma."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 4, stride=4), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.gamma = nn.Parameter(torch.randn(8))
        self.edge, self.head = Edge(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = self.down(F.gelu(self.up(self.norm(self.conv(x).permute(0, 2, 3, 1)))))
        x = x + (self.gamma * inner).permute(0, 3, 1, 2)
        return self.head(self.edge(x).mean((2, 3)))


def model_and_input(network: nn.Module, n: int = 2, size: int = 16) -> tuple[FlatModel, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(n, 3, size, size, dtype=torch.float64)
    return FlatModel.from_nn_Module(randomized(network).double().eval()), x


NETWORKS = {
    "xcit": lambda: Transformer(over_channels, over_channels),
    "davit": lambda: Transformer(swapped),
    "einsum": lambda: Transformer(by_einsum, over_channels),
    "maps": OnMaps,
    "edgenext": EdgeNeXt,
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_attention_over_channels_is_drawn_by_no_method(name, method):
    flat, x = model_and_input(NETWORKS[name]())
    for variant in (method, SmoothGradient(n_samples=1, method=method)):
        with pytest.raises(NotApplicable, match=r"over channels only \('.*softmax' weighs channels, not tokens\)"):
            variant(flat, x, logit(0))


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("channels", [over_channels, swapped, by_einsum])
def test_beside_attention_of_tokens_that_over_channels_takes_no_part(method, channels):
    """What is drawn is the attention among tokens, whatever the order, and also where methods share a run."""
    flat, x = model_and_input(Transformer(channels, over_tokens, channels))
    (key,) = attention_maps(flat, x=x)
    assert key == "blocks.1.softmax"
    result = method(flat, x, logit(1))
    if isinstance(method, AttentionMap):
        weights = flat.record(x, layers=key)[key]
        assert_close(result.values, weights.mean((1, 2)).view(2, 1, 4, 4))
        assert result.provenance.layer == key
    assert result.values.shape == (2, 1, 4, 4)
    again, x = model_and_input(Transformer(channels, over_tokens, channels))
    with together([method], again, x, logit(1)) as shared:
        assert_close(method(again, shared, logit(1)).values, result.values)


@pytest.mark.parametrize("mix", [over_tokens, tokens_by_einsum])
def test_attention_of_tokens_stays(mix):
    flat, x = model_and_input(Transformer(mix, mix))
    keys = attention_maps(flat)
    assert len(keys) == 2 and attention_maps(flat, x=x) == keys
    for method in METHODS:
        assert method(flat, x, logit(0)).values.shape == (2, 1, 4, 4)


class MixedBefore(nn.Module):
    """Attention of tokens whose values were mixed along tokens before, as an MLP-mixer does."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mixer = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(16, 16)
        self.query, self.key, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        values = self.mixer(x.transpose(1, 2)).transpose(1, 2)
        return self.head(((self.query(x) @ self.key(x).transpose(1, 2)).softmax(-1) @ values).mean(1))


def test_a_linear_layer_along_tokens_makes_no_channels_of_them():
    flat, x = model_and_input(MixedBefore())
    assert attention_maps(flat, x=x) == ["softmax"]


def test_channels_last_under_a_gamma_are_occluded_and_ablated_exactly():
    torch.manual_seed(1)
    network = randomized(EdgeNeXt()).double().eval()
    flat, x = FlatModel.from_nn_Module(network), torch.randn(2, 3, 32, 32, dtype=torch.float64)

    def score(images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([network(image[None]) for image in images])[:, 2]

    occluded = Occlusion(8, 8)(flat, x, logit(2))
    mask = torch.arange(16).view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    ablated = FeatureAblation(mask)(flat, x, logit(2))
    for part in range(16):
        off = (mask == part).expand_as(x)
        fall = (score(x) - score(x.masked_fill(off, 0.0))).view(2, 1).expand(2, 3 * 64)
        assert_close(occluded.values[off].view(2, -1), fall, rtol=1e-9, atol=1e-11)
        assert_close(ablated.values[off].view(2, -1), fall, rtol=1e-9, atol=1e-11)
    for result in (occluded, ablated):
        assert (result.diagnostics["macs_saved"] > 0).all()
