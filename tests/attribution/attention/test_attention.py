"""Attention methods against a transformer written out by hand, whose maps and gradients are all in the open."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import MaxVit, SwinTransformer

from netlens.attribution import AttentionMap, AttentionRollout, GradientRollout, LeGrad, SmoothGradient
from netlens.attribution.attention import attention_maps
from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import logit

HEADS, WIDTH, DEPTH = 2, 12, 3


class Block(nn.Module):
    """A user's own attention: one projection, heads folded into the batch, `bmm`, a dropout on the map."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 20), nn.GELU(), nn.Linear(20, WIDTH))
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4).flatten(1, 2)
        attention = self.drop(F.softmax(torch.bmm(q, k.transpose(1, 2)) * (c // HEADS) ** -0.5, dim=-1))
        mixed = torch.bmm(attention, v).view(n, HEADS, t, c // HEADS).transpose(1, 2).reshape(n, t, c)
        x = x + self.proj(mixed)
        return x + self.mlp(self.norm2(x))


class Own(nn.Module):
    """A vision transformer that no adapter knows; with class token, registers, or neither and a mean at the end."""

    def __init__(self, extra: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.extra = nn.Parameter(torch.randn(1, extra, WIDTH)) if extra > 0 else None
        self.place = nn.Parameter(torch.randn(1, 24 + extra, WIDTH))
        self.blocks = nn.Sequential(*[Block() for _ in range(DEPTH)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.extra is not None:
            tokens = torch.cat([self.extra.expand(x.shape[0], -1, -1), tokens], 1)
        return tokens + self.place

    def answer(self, tokens: Tensor) -> Tensor:
        tokens = self.norm(tokens)
        return self.head(tokens.mean(1) if self.extra is None else tokens[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.blocks(self.embed(x)))


def by_hand(network: Own, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The attention maps (n, heads, T, T) and outputs of all blocks, each map a point for gradients."""
    maps, outputs = [], []
    tokens = network.embed(x)
    for block in network.blocks:
        n, t, c = tokens.shape
        q, k, v = block.qkv(block.norm1(tokens)).unflatten(-1, (3, HEADS, c // HEADS)).unbind(2)
        scores = torch.einsum("nqhd,nkhd->nhqk", q, k) / (c // HEADS) ** 0.5
        maps.append((scores.exp() / scores.exp().sum(-1, keepdim=True)).requires_grad_())
        tokens = tokens + block.proj(torch.einsum("nhqk,nkhd->nqhd", maps[-1], v).reshape(n, t, c))
        tokens = tokens + block.mlp(block.norm2(tokens))
        outputs.append(tokens)
    return maps, outputs


@pytest.fixture(params=[0, 1, 3], ids=["mean", "class token", "registers"])
def transformer(request) -> tuple[Own, FlatModel, Tensor]:
    torch.manual_seed(request.param)
    network = Own(request.param).double().eval()
    for parameter in network.parameters():  # stronger than at birth, so that attention is uneven
        parameter.data.mul_(2)
    x = torch.randn(3, 3, 16, 24, dtype=torch.float64)  # 4 x 6 patches
    return network, FlatModel.from_nn_Module(network), x


def laid_out(rows: Tensor | np.ndarray, extra: int) -> Tensor:
    """(n, T, T) to maps: the row of the class token, or the mean over rows; its last 24 columns."""
    rows = torch.as_tensor(rows)
    row = rows[:, 0] if extra else rows.mean(1)
    return row[:, extra:].reshape(len(rows), 1, 4, 6)


def extra_of(network: Own) -> int:
    return 0 if network.extra is None else network.extra.shape[1]


TARGETS = [1, 0, 4]


def test_attention_is_found_without_names(transformer):
    network, flat, x = transformer
    keys = attention_maps(flat)
    assert len(keys) == DEPTH and all(key.startswith(f"blocks.{i}.") for i, key in enumerate(keys))
    for key, expected in zip(keys, by_hand(network, x)[0], strict=True):
        assert_close(flat.record(x, layers=key)[key].view_as(expected), expected.detach())
    assert attention_maps(flat, flat.key("blocks.1")) == keys[2:]


def test_attention_map_of_a_layer_and_a_head(transformer):
    network, flat, x = transformer
    maps, _ = by_hand(network, x)
    extra = extra_of(network)
    last = AttentionMap()(flat, x, logit(0))
    assert_close(last.values, laid_out(maps[-1].detach().mean(1), extra))
    assert last.provenance.layer == attention_maps(flat)[-1] and last.heatmap().shape == (3, 1, 16, 24)
    expected = laid_out(maps[1].detach()[:, 1], extra)
    for layer in (1, -2, "blocks.1", "blocks.1.*", attention_maps(flat)[1]):
        assert_close(AttentionMap(layer, head=1)(flat, x, logit(0)).values, expected)
    named = AttentionMap(head=1)(flat, x, logit(0), wrt=attention_maps(flat)[1])
    assert_close(named.values, expected)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.6])
def test_attention_rollout(transformer, fusion, discard):
    network, flat, x = transformer
    maps, _ = by_hand(network, x)
    results = []
    for sample in range(len(x)):
        rollout = np.eye(maps[0].shape[-1])
        for one in maps:
            fused = getattr(one[sample].detach().numpy(), fusion)(0)
            fused = np.where(fused < np.sort(fused, None)[int(discard * fused.size)], 0, fused)
            mixed = fused / 2 + np.eye(len(fused)) / 2
            rollout = mixed / mixed.sum(1, keepdims=True) @ rollout
        results.append(rollout)
    ours = AttentionRollout(fusion, discard)(flat, x, logit(0)).values
    assert_close(ours, laid_out(np.stack(results), extra_of(network)), rtol=1e-10, atol=1e-14)


def test_gradient_rollout(transformer):
    network, flat, x = transformer
    maps, outputs = by_hand(network, x)
    score = network.answer(outputs[-1])[range(3), TARGETS].sum()
    relevance = torch.eye(maps[0].shape[-1], dtype=torch.float64).expand(3, -1, -1)
    for one, gradient in zip(maps, torch.autograd.grad(score, maps), strict=True):
        relevance = relevance + (gradient * one.detach()).relu().mean(1) @ relevance
    ours = GradientRollout()(flat, x, logit(TARGETS)).values
    assert_close(ours, laid_out(relevance, extra_of(network)), rtol=1e-9, atol=1e-13)


def test_legrad(transformer):
    network, flat, x = transformer
    maps, outputs = by_hand(network, x)
    extra = extra_of(network)
    layers = []
    for one, tokens in zip(maps, outputs, strict=True):
        score = network.answer(tokens)[range(3), TARGETS].sum()
        (gradient,) = torch.autograd.grad(score, one, retain_graph=True)
        layers.append(gradient.relu().mean((1, 2))[:, extra:].reshape(3, 1, 4, 6))
    assert_close(LeGrad()(flat, x, logit(TARGETS)).values, torch.stack(layers).mean(0), rtol=1e-9, atol=1e-13)
    later = LeGrad()(flat, x, logit(TARGETS), wrt="blocks.0").values
    assert_close(later, torch.stack(layers[1:]).mean(0), rtol=1e-9, atol=1e-13)


def test_with_respect_to_a_layer_only_later_attention_counts(transformer):
    network, flat, x = transformer
    maps, _ = by_hand(network, x)
    eye = torch.eye(maps[0].shape[-1], dtype=torch.float64)
    expected = (maps[2].detach().mean(1) + eye) / 2 @ ((maps[1].detach().mean(1) + eye) / 2)
    ours = AttentionRollout()(flat, x, logit(0), wrt="blocks.0")
    assert_close(ours.values, laid_out(expected, extra_of(network)))
    for method in (AttentionRollout(), GradientRollout(), LeGrad()):
        with pytest.raises(NotApplicable, match=r"no attention of own comes after 'norm'"):
            method(flat, x, logit(0), wrt="norm")


def test_one_layer_of_attention_is_enough():
    network = Own(1).double().eval()
    network.blocks = network.blocks[:1]
    x = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    maps, outputs = by_hand(network, x)
    (gradient,) = torch.autograd.grad(network.answer(outputs[0])[:, 3].sum(), maps[0])
    ours = LeGrad()(FlatModel.from_nn_Module(network), x, logit(3)).values
    assert_close(ours, gradient.relu().mean((1, 2))[:, 1:].reshape(2, 1, 4, 6), rtol=1e-9, atol=1e-13)


def test_torchvisions_vit_is_read_the_same_way(cases):
    case = cases["vit"]
    flat, x, objective = case.flat, case.x, logit(list(case.targets))
    maps = [flat.record(x, layers=key)[key] for key in attention_maps(flat)]
    assert [one.shape for one in maps] == [(3, 2, 17, 17)] * 2
    assert_close(AttentionMap()(flat, x, objective).values, maps[1].mean(1)[:, 0, 1:].view(3, 1, 4, 4))
    rollout = (maps[1].mean(1) + torch.eye(17)) / 2 @ ((maps[0].mean(1) + torch.eye(17)) / 2)
    assert_close(AttentionRollout()(flat, x, objective).values, rollout[:, 0, 1:].view(3, 1, 4, 4))


@pytest.mark.parametrize("norm_first", [True, False])
def test_torchs_own_encoder_has_attention_too(norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 20, batch_first=True, norm_first=norm_first)
    network = Own(1)
    network.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    flat = FlatModel.from_nn_Module(network.double().eval())
    x = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    assert len(attention_maps(flat)) == 2
    for method in (AttentionMap(), AttentionRollout(), GradientRollout(), LeGrad()):
        assert method(flat, x, logit(0)).values.shape == (2, 1, 4, 6)
    # what LeGrad puts in the place of the last block's output is the first block's
    keys = attention_maps(flat)
    with torch.enable_grad():
        recorded = flat.record(x, layers=[keys[0], "blocks.layers.0"])
        frontier = flat.record(x, layers=list(flat.frontier(keys[0])))
        point = recorded[keys[0]].detach().requires_grad_()
        first = flat.resume({**frontier, keys[0]: point}, until="blocks.layers.0")
        (gradient,) = torch.autograd.grad(network.answer(first)[:, 1].sum(), point)
    alone = gradient.relu().mean((1, 2))[:, 1:].view(2, 1, 4, 6)
    both = LeGrad()(flat, x, logit(1)).values
    second = LeGrad()(flat, x, logit(1), wrt="blocks.layers.0").values
    assert_close(both, (alone + second) / 2, rtol=1e-9, atol=1e-13)


# windows


def test_attention_in_windows_lies_where_the_windows_lay(cases):
    """What lands on a place of the map is what the tokens of its own window paid to it."""
    case = cases["swin"]
    flat, x = case.flat, case.x
    for block, shifted in (("features.3.0", False), ("features.3.1", True)):
        key = f"{block}.attn.softmax"
        maps = flat.record(x, layers=key)[key]  # (n * 4, heads, 16, 16): four windows of 4 x 4 on 8 x 8
        received = maps.mean((1, 2)).view(3, 2, 2, 4, 4).permute(0, 1, 3, 2, 4).reshape(3, 1, 8, 8)
        expected = received.roll((2, 2), (2, 3)) if shifted else received
        assert_close(AttentionMap(block)(flat, x, logit(0)).values, expected)


def test_padding_of_windows_has_no_place():
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(SwinTransformer([2, 2], 8, [2], [2], [4, 4], num_classes=5).double())
    x = torch.randn(1, 3, 20, 28, dtype=torch.float64)  # a map of 10 x 14 in windows of 4 x 4, padded to 12 x 16
    maps = flat.record(x, layers="features.1.0.attn.softmax")["features.1.0.attn.softmax"]
    received = maps.mean((1, 2)).view(3, 4, 4, 4).permute(0, 2, 1, 3).reshape(1, 1, 12, 16)
    assert_close(AttentionMap(0)(flat, x, logit(0)).values, received[:, :, :10, :14])


def test_legrad_of_swin_takes_the_blocks_of_the_last_stage(cases):
    case = cases["swin"]
    flat, x, objective = case.flat, case.x, logit(list(case.targets))
    network, layers = case.module.eval(), []
    for block in (0, 1):
        key = f"features.3.{block}.attn.softmax"
        activations = flat.record(x, layers=[*flat.frontier(key), key])
        with torch.enable_grad():
            point = activations[key].detach().requires_grad_()
            tokens = flat.resume({**activations, key: point}, until=f"features.3.{block}")
            scores = network.head(network.norm(tokens).mean((1, 2)))
            (gradient,) = torch.autograd.grad(scores[range(3), list(case.targets)].sum(), point)
        relevance = gradient.relu().mean((1, 2)).view(3, 2, 2, 4, 4).permute(0, 1, 3, 2, 4).reshape(3, 1, 8, 8)
        layers.append(relevance.roll((2, 2), (2, 3)) if block == 1 else relevance)
    assert_close(LeGrad()(flat, x, objective).values, (layers[0] + layers[1]) / 2, rtol=1e-9, atol=1e-13)


# refusals, and methods around these


def test_what_has_no_attention_says_so(cases):
    for name in ("resnet", "vectors"):
        case = cases[name]
        for method in (AttentionMap(), AttentionRollout(), GradientRollout(), LeGrad()):
            with pytest.raises(NotApplicable, match="has no attention maps"):
                method(case.flat, case.x, logit(0))


def test_a_softmax_over_classes_is_no_attention():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1), nn.Linear(3, 2)))
    with pytest.raises(NotApplicable, match="has no attention maps"):
        attention_maps(flat)


class _Fused(nn.Module):
    """Drops weights at random, so that its attention stays one call."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(6, 18), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.head(F.scaled_dot_product_attention(q, k, v, dropout_p=0.1).mean(1))


def test_fused_attention_says_what_to_do():
    flat = FlatModel.from_nn_Module(_Fused())
    with pytest.raises(NotApplicable, match=r"'scaled_dot_product_attention' is fused; build .* with eager attention"):
        AttentionRollout()(flat, torch.randn(1, 4, 6), logit(0))


def test_tokens_of_a_sequence_lie_along_it():
    network = nn.Sequential(nn.TransformerEncoderLayer(WIDTH, HEADS, 20, batch_first=True), nn.Flatten())
    flat, x = FlatModel.from_nn_Module(network.eval()), torch.randn(2, 7, WIDTH)
    result = AttentionMap()(flat, x, logit(0))
    attention = flat(x, until="0.self_attn.softmax")
    assert_close(result.values, attention.mean((1, 2))[:, None])


def test_windows_that_no_adapter_knows_lie_where_the_layers_cut_them():
    torch.manual_seed(0)
    network = MaxVit((32, 32), 8, 4, [8], [1], 8, 0.0, num_classes=3)
    flat = FlatModel.from_nn_Module(randomized(network))
    x = torch.randn(1, 3, 32, 32)
    key = flat.find("*window_attention*softmax*")[-1]
    maps = flat.record(x, layers=key)[key]  # (1, 4, heads, 16, 16): four windows of 4 x 4 on 8 x 8
    received = maps.mean((2, 3)).view(1, 2, 2, 4, 4).permute(0, 1, 3, 2, 4).reshape(1, 1, 8, 8)
    assert_close(AttentionMap(key)(flat, x, logit(0)).values, received)
    for method in (AttentionRollout(), GradientRollout()):
        with pytest.raises(NotApplicable, match=r"regrouped .* choose AttentionMap or LeGrad"):
            method(flat, x, logit(0))


def test_layers_and_heads_that_are_not_there(cases):
    case = cases["vit"]
    for wrong, message in (
        (lambda: AttentionMap(2), "has 2 attention maps, and no layer 2"),
        (
            lambda: AttentionMap("encoder.layers.encoder_layer_7"),
            "names no attention map; those of",
        ),
        (lambda: AttentionMap(head=2), "has no head 2; its heads are 0 to 1"),
        (lambda: AttentionRollout("median"), "fusion is 'median', but must be one of 'mean', 'max', 'min'"),
        (lambda: AttentionRollout(discard_ratio=1.0), "discard_ratio is 1.0, but must be"),
    ):
        with pytest.raises(NetLensError, match=message):
            wrong()(case.flat, case.x, logit(0))
    with pytest.raises(NotApplicable, match="is no attention map; those of"):
        AttentionMap()(case.flat, case.x, logit(0), wrt=case.family.middle)


def test_noisy_copies_of_attention(cases):
    case = cases["vit"]
    for method in (AttentionMap(), AttentionRollout(), GradientRollout(), LeGrad()):
        smooth = SmoothGradient(n_samples=2, noise_level=0, method=method)(case.flat, case.x, logit(1))
        plain = method(case.flat, case.x, logit(1))
        assert_close(smooth.values, plain.values)
        assert smooth.reduction == "cam" and smooth.provenance.layer == plain.provenance.layer
