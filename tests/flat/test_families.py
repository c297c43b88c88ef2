"""Torchvision's families, attention in all its uses, video and segmentation: flat equals plain.

Bit for bit, but for attention: the plain network may take a fused kernel whose sums run in another order.
"""

import pytest
import torch
import torchvision.models as tv
from torch import nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2
from torchvision.models.video import resnet
from torchvision.models.video.swin_transformer import SwinTransformer3d

from netlens.evaluation import randomized
from netlens.flat import FlatModel

CONVOLUTIONAL = {
    "resnet": lambda: tv.resnet.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5),
    "resnext": lambda: tv.resnet.ResNet(tv.resnet.Bottleneck, [1, 1, 1, 1], 5, groups=4, width_per_group=4),
    "densenet": lambda: tv.DenseNet(8, (2, 3, 2), 16, num_classes=5),
    "googlenet": lambda: tv.GoogLeNet(5, init_weights=False),
    "inception": lambda: tv.Inception3(5, aux_logits=False, init_weights=False),
    "squeezenet1_1": lambda: tv.squeezenet1_1(num_classes=5),
    "mobilenet_v2": lambda: tv.mobilenet_v2(num_classes=5),
    "mobilenet_v3_small": lambda: tv.mobilenet_v3_small(num_classes=5),
    "shufflenet_v2_x0_5": lambda: tv.shufflenet_v2_x0_5(num_classes=5),
    "mnasnet0_5": lambda: tv.mnasnet0_5(num_classes=5),
    "efficientnet_b0": lambda: tv.efficientnet_b0(num_classes=5),
    "regnet_y_400mf": lambda: tv.regnet_y_400mf(num_classes=5),
    "convnext": lambda: tv.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 2)], num_classes=5),
    "maxvit": lambda: tv.MaxVit((64, 64), 8, 4, [8, 16], [1, 1], 4, 0.2, num_classes=5),
    "video": lambda: resnet.VideoResNet(
        resnet.BasicBlock, [resnet.Conv3DSimple] * 4, [1, 1, 1, 1], resnet.BasicStem, num_classes=5
    ),
}
VERSION_2 = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
ATTENTIVE = {
    "vit": lambda: tv.VisionTransformer(64, 16, 2, 2, 16, 32, num_classes=5),
    "swin": lambda: tv.SwinTransformer([4, 4], 12, [2, 2], [3, 6], [4, 4], num_classes=5),
    "swin_v2": lambda: tv.SwinTransformer([4, 4], 12, [2, 2], [3, 6], [4, 4], num_classes=5, **VERSION_2),
    "swin3d": lambda: SwinTransformer3d([2, 4, 4], 12, [2, 2], [3, 6], [2, 3, 3], num_classes=5),
}


def network_of(make):
    torch.manual_seed(0)
    return randomized(make())


def image(height=64, width=64):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def clip():
    return torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))


def input_of(name):
    return {"video": clip, "swin3d": clip, "inception": lambda: image(80, 80)}.get(name, image)()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_networks_bit_for_bit(name):
    network, x = network_of(CONVOLUTIONAL[name]), input_of(name)
    flat = FlatModel.from_nn_Module(network)
    with torch.inference_mode():
        output = flat(x)
        assert torch.equal(output, network(x))
        assert not torch.equal(output, flat(-x))  # the network is alive
    assert not flat.opaque


def assert_near(flat, network, *inputs):
    with torch.inference_mode():
        left, right = flat(*inputs), network(*inputs)
    torch.testing.assert_close(left, right, rtol=0, atol=1e-5 * right.abs().max().item())
    assert not flat.opaque


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ATTENTIVE)
def test_networks_with_attention(name):
    network = network_of(ATTENTIVE[name])
    assert_near(FlatModel.from_nn_Module(network), network, input_of(name))


@pytest.mark.parametrize("size", [(16, 16), (28, 60), (50, 36)])  # one window, and sides that need padding
@pytest.mark.parametrize("name", ["swin", "swin_v2"])
def test_shifted_windows_of_images_of_other_sizes(size, name):
    network = network_of(ATTENTIVE[name])
    assert_near(FlatModel.from_nn_Module(network), network, image(*size))


@pytest.mark.filterwarnings("ignore")
def test_segmentation_gives_its_dict():
    network = network_of(lambda: tv.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=4))
    flat, x = FlatModel.from_nn_Module(network), image()
    with torch.inference_mode():
        left, right = flat(x), network(x)
    assert type(left) is type(right) and left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in right)
    assert flat.logits(left).shape == (2, 4, 64, 64)


@pytest.mark.filterwarnings("ignore")
def test_segmentation_with_two_heads():
    options = {"weights_backbone": None, "num_classes": 4, "aux_loss": True}
    network = network_of(lambda: tv.segmentation.deeplabv3_mobilenet_v3_large(**options))
    flat, x = FlatModel.from_nn_Module(network), image()
    with torch.inference_mode():
        left, right = flat(x), network(x)
    assert list(left) == list(right) == ["out", "aux"]
    assert all(torch.equal(left[key], right[key]) for key in right)


class Attending(nn.Module):
    """One attention between two sequences, with whatever masks."""

    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **options)

    def forward(self, query, memory, mask=None, padding=None, need_weights=True, average=True):
        return self.attention(
            query,
            memory,
            memory,
            attn_mask=mask,
            key_padding_mask=padding,
            need_weights=need_weights,
            average_attn_weights=average,
        )


def sequences(batch_first):
    generator = torch.Generator().manual_seed(0)
    kind = {"generator": generator, "dtype": torch.float64}
    query, memory = torch.randn(3, 5, 8, **kind), torch.randn(3, 7, 8, **kind)
    return (query, memory) if batch_first else (query.transpose(0, 1), memory.transpose(0, 1))


MASKS = {
    "no mask": (None, None),
    "boolean": (torch.ones(5, 7).triu(1).bool(), None),
    "added": (torch.linspace(-1, 1, 35, dtype=torch.float64).view(5, 7), None),
    "per head": (torch.linspace(-1, 1, 210, dtype=torch.float64).view(6, 5, 7), None),
    "padding": (None, torch.arange(7).expand(3, 7) > torch.tensor([[3], [5], [6]])),
    "padding added": (None, torch.linspace(-1, 1, 21, dtype=torch.float64).view(3, 7)),
    "both": (torch.ones(5, 7).triu(1).bool(), torch.arange(7).expand(3, 7) > torch.tensor([[3], [5], [6]])),
}


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights, average", [(True, True), (True, False), (False, True)])
def test_attention_under_masks(masks, batch_first, need_weights, average):
    network = randomized(Attending(batch_first=batch_first)).double()
    inputs, masked = sequences(batch_first), MASKS[masks]
    names = [name for name, mask in zip(("mask", "padding"), masked, strict=True) if mask is not None]
    arguments = [mask for mask in masked if mask is not None]
    network.forward.__func__.__defaults__ = (None, None, need_weights, average)
    flat = FlatModel.from_nn_Module(network, inputs=["query", "memory", *names])
    (output, weights), (expected, expected_weights) = flat(*inputs, *arguments), network(*inputs, *masked)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    if need_weights:
        torch.testing.assert_close(weights, expected_weights, rtol=0, atol=1e-12)
    else:
        assert weights is expected_weights is None
    assert "attention.softmax" in flat.layers and not flat.opaque


@pytest.mark.parametrize("options", [{"bias": False}, {"kdim": 6, "vdim": 4}, {"add_bias_kv": True}], ids=str)
def test_attention_of_other_make(options):
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

        def forward(self, query, key, value):
            return self.attention(query, key, value)[0]

    network, (query, memory) = randomized(Cross()).double(), sequences(batch_first=True)
    key, value = memory[..., : options.get("kdim", 8)], memory[..., : options.get("vdim", 8)]
    flat = FlatModel.from_nn_Module(network)
    torch.testing.assert_close(flat(query, key, value), network(query, key, value), rtol=0, atol=1e-12)
    assert ("attention.softmax" in flat.layers) == ("add_bias_kv" not in options)


def test_attention_on_one_unbatched_sequence():
    network, (query, memory) = randomized(Attending()).double(), sequences(batch_first=True)
    network.forward.__func__.__defaults__ = (None, None, True, True)
    flat = FlatModel.from_nn_Module(network)
    for have, want in zip(flat(query[0], memory[0]), network(query[0], memory[0]), strict=True):
        torch.testing.assert_close(have, want, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu"}, {"bias": False}], ids=str)
@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer_encoders_unroll(options, batch_first):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, **options)
    network = randomized(nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8))).double()
    x, _ = sequences(batch_first)
    assert_near(FlatModel.from_nn_Module(network), network, x)
    mask, padding = torch.ones(5, 5).triu(1).bool(), torch.arange(5).expand(3, 5) > torch.tensor([[3], [4], [5]])
    flat = FlatModel.from_nn_Module(network, inputs=["src", "mask", "src_key_padding_mask"])
    torch.testing.assert_close(flat(x, mask, padding), network(x, mask, padding), rtol=0, atol=1e-12)
    assert "layers.1.self_attn.softmax" in flat.layers and not flat.opaque
