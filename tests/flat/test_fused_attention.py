"""`F.scaled_dot_product_attention` is unrolled into scores, softmax and values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens import NetLens
from netlens.attribution import LRP, AttentionMap, DeepLift, GradientRollout, LeGrad
from netlens.flat import FlatModel
from netlens.flat.operations import name_of
from netlens.objectives import logit


class Fused(nn.Module):
    """A transformer of one head layout whose attention is one fused call."""

    bias: Tensor
    allowed: Tensor

    def __init__(self, options: dict[str, Any], mask: str | None = None, heads: int = 2, shared: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 8 * heads, 4, 4)
        self.q = nn.Linear(8 * heads, 8 * heads)
        self.k, self.v = (nn.Linear(8 * heads, 8 * heads // shared) for _ in range(2))
        self.head, self.heads, self.shared = nn.Linear(8 * heads, 3), heads, shared
        self.options, self.mask = options, mask
        self.register_buffer("bias", torch.randn(heads, 9, 9))
        self.register_buffer("allowed", torch.rand(9, 9) > 0.5)
        self.allowed[2] = False  # a query that may read nothing

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = (linear(x).unflatten(-1, (-1, 8)).transpose(1, 2) for linear in (self.q, self.k, self.v))
        mask = None if self.mask is None else getattr(self, self.mask)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, **self.options)
        return self.head((x + mixed.transpose(1, 2).flatten(2)).mean(1))


CASES: dict[str, Fused] = {
    "plain": Fused({}),
    "scale": Fused({"scale": 0.3}),
    "causal": Fused({"is_causal": True}),
    "float": Fused({}, "bias"),
    "boolean": Fused({}, "allowed"),
    "shared": Fused({"enable_gqa": True}, heads=4, shared=2),
    "shared and masked": Fused({"enable_gqa": True, "dropout_p": 0.0}, "bias", heads=4, shared=4),
}


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("exemplified", [False, True])
def test_the_pieces_give_what_the_fused_call_gives(name: str, exemplified: bool, x: Tensor) -> None:
    net = CASES[name].double().eval()
    flat = FlatModel.from_nn_Module(net, example=x[:1] if exemplified else None)
    assert {"scores", "softmax", "mixed"} <= set(flat.layers) and not flat.opaque
    assert not any(name_of(layer) == "scaled_dot_product_attention" for layer in flat.layers.values())
    torch.testing.assert_close(flat(x), net(x), rtol=1e-12, atol=1e-12)
    weights = flat.record(x, layers="softmax")["softmax"]
    totals = weights.sum(-1)
    empty = ~net.allowed.any(-1) if net.mask == "allowed" else torch.zeros(9, dtype=torch.bool)
    torch.testing.assert_close(totals, (~empty).to(totals).expand_as(totals))


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_fused_call(name: str, x: Tensor) -> None:
    net = CASES[name].double().eval()
    gradients = []
    for network in (net, FlatModel.from_nn_Module(net)):
        point = x.clone().requires_grad_()
        network(point)[:, 1].sum().backward()
        gradients.append(point.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_deep_lift_is_complete(name: str, x: Tensor) -> None:
    net = CASES[name].double().eval()
    values = DeepLift()(FlatModel.from_nn_Module(net), x, logit(1)).values
    change = net(x)[:, 1] - net(torch.zeros_like(x))[:, 1]
    torch.testing.assert_close(values.flatten(1).sum(1), change, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", [AttentionMap(), GradientRollout(), LeGrad(), LRP()])
def test_attention_methods_apply(method: Any, x: Tensor) -> None:
    values = NetLens(CASES["plain"].double().eval(), x).attribute(method).values
    assert torch.isfinite(values).all() and values.abs().max() > 0


def test_the_map_is_the_softmax_of_the_scores(x: Tensor) -> None:
    net = CASES["float"].double().eval()
    flat = FlatModel.from_nn_Module(net)
    tokens = net.patches(x).flatten(2).transpose(1, 2)
    q, k = (linear(tokens).unflatten(-1, (2, 8)).transpose(1, 2) for linear in (net.q, net.k))
    expected = (q @ k.transpose(-2, -1) / 8**0.5 + net.bias).softmax(-1)
    torch.testing.assert_close(flat.record(x, layers="softmax")["softmax"], expected)


def test_weights_that_are_dropped_at_random_stay_fused() -> None:
    net = Fused({"dropout_p": 0.5}).eval()
    flat = FlatModel.from_nn_Module(net)
    assert any(name_of(layer) == "scaled_dot_product_attention" for layer in flat.layers.values())


@pytest.mark.parametrize("name", ["vit", "eva", "maxvit", "beit"])
def test_the_transformers_of_timm_show_their_attention(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is an optional package")
    entry, options = {
        "vit": ("vit_tiny_patch16_224", {"img_size": 32, "depth": 2}),
        "eva": ("eva02_tiny_patch14_224", {"img_size": 28, "depth": 2, "num_classes": 5}),
        "maxvit": ("maxvit_rmlp_pico_rw_256", {"img_size": 64, "depths": (1, 1, 1, 1)}),
        "beit": ("beit_base_patch16_224", {"img_size": 32, "depth": 2, "embed_dim": 48, "num_heads": 3}),
    }[name]
    torch.manual_seed(0)
    net = timm.create_model(entry, pretrained=False, **options).eval()
    size = options["img_size"]
    image = torch.randn(1, 3, size, size)
    lens = NetLens(net, image)
    with torch.no_grad():
        torch.testing.assert_close(lens.flat(image), net(image), rtol=1e-5, atol=1e-6)
    assert not lens.flat.opaque and lens.attention_map().values.abs().max() > 0
