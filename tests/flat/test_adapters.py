"""What adapters say of a family is true of the network: the CAM layer exists, and a place in a map is that place."""

import importlib.metadata
from typing import ClassVar

import pytest
import torch
import torchvision.models as tv
from torch import nn

from netlens.attribution import cam_layer
from netlens.errors import NetLensWarning, NotApplicable, TraceError
from netlens.evaluation import randomized
from netlens.flat import Adapter, FlatModel, adapter, register, rewrite
from netlens.flat.adapter import adapter_of, logits_of
from netlens.flat.grid import grid_of
from netlens.flat.layers import Piece

VERSION_2 = {
    "block": tv.swin_transformer.SwinTransformerBlockV2,
    "downsample_layer": tv.swin_transformer.PatchMergingV2,
}
NETWORKS = {
    "resnet": (lambda: tv.resnet.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5), "layer4.0.relu_1"),
    "regnet": (lambda: tv.regnet_y_400mf(num_classes=5), "trunk_output.block4.block4-5.activation"),
    "densenet": (lambda: tv.DenseNet(8, (2, 3, 2), 16, num_classes=5), "relu"),
    "googlenet": (lambda: tv.GoogLeNet(5, init_weights=False), "inception5b.cat"),
    "convnext": (lambda: tv.ConvNeXt([tv.convnext.CNBlockConfig(8, None, 2)], num_classes=5), "features.1.1.add"),
    "maxvit": (
        lambda: tv.MaxVit((64, 64), 8, 4, [8, 16], [1, 1], 4, 0.2, num_classes=5),
        "blocks.1.layers.0.layers.grid_attention.departition_op.reshape_1",
    ),
    "vit": (
        lambda: tv.VisionTransformer(64, 16, 2, 2, 16, 32, num_classes=5),
        "encoder.layers.encoder_layer_1.ln_1",
    ),
    "swin": (lambda: tv.SwinTransformer([4, 4], 12, [2, 2], [3, 6], [4, 4], num_classes=5), "norm"),
    "swin_v2": (lambda: tv.SwinTransformer([4, 4], 12, [2, 2], [3, 6], [4, 4], num_classes=5, **VERSION_2), "norm"),
}


def flat_of(name):
    torch.manual_seed(0)
    return FlatModel.from_nn_Module(randomized(NETWORKS[name][0]()))


@pytest.fixture(scope="module", params=NETWORKS)
def named(request):
    return request.param, flat_of(request.param)


@pytest.mark.filterwarnings("ignore")
def test_the_cam_layer_is_a_map_over_the_image(named):
    name, flat = named
    x = torch.randn(2, 3, 64, 64)
    key = cam_layer(flat, x)
    assert key.startswith(NETWORKS[name][1])
    with torch.no_grad():
        maps = grid_of(flat, key, flat(x, until=key))
    assert maps.ndim == 4 and maps.shape[0] == 2 and maps.shape[2] == maps.shape[3] > 1


def changed(flat, key, x, y, x_place):
    """Which places of a layer's map change when the image changes around one place."""
    other = x.clone()
    other[..., y : y + 2, x_place : x_place + 2] += 3
    with torch.no_grad():
        maps = [grid_of(flat, key, flat(image, until=key)) for image in (x, other)]
    return (maps[0] - maps[1]).abs().sum(1)[0]


@pytest.mark.parametrize(
    "name, key",
    [
        ("resnet", "layer2"),
        ("vit", "encoder.add"),
        ("vit", "encoder.layers.encoder_layer_0.ln_1"),
        ("swin", "features.0.0"),
        ("swin", "features.0.1"),
        ("swin", "features.0.2"),
        ("swin", "features.1.0.norm1"),
        ("convnext", "features.1.0.block.0"),
        ("convnext", "features.1.0.block.1"),
        ("convnext", "features.1.0.block.4"),
        ("convnext", "features.0.1.permute"),
        ("convnext", "features.1.0.add"),
    ],
)
@pytest.mark.parametrize("place", [(0, 0), (40, 8), (8, 40), (62, 62)])
def test_a_patch_lands_in_its_row_and_column(name, key, place):
    """What differs most lies where the image differs, to within a cell."""
    flat = flat_of(name)
    difference = changed(flat, flat.key(key), torch.randn(1, 3, 64, 64), *place)
    row, column = divmod(int(difference.argmax()), difference.shape[1])
    cell = 64 / difference.shape[0]
    reach = 3 if name == "convnext" else 1  # half of a kernel, 7 or 3
    assert abs(row - place[0] // cell) <= reach and abs(column - place[1] // cell) <= reach
    assert difference.shape[0] == difference.shape[1]


@pytest.mark.parametrize("name", ["swin", "swin_v2"])
def test_reversed_windows_lie_where_they_were_cut(name):
    """Partition and reverse, shift and padding included, undo each other; tokens in between have no place."""
    flat = flat_of(name)
    x = torch.randn(2, 7, 9, 12)
    for block in ("0", "1"):
        partition = flat.layers[f"features.1.{block}.attn.partition"]
        reverse = flat.layers[f"features.1.{block}.attn.reverse"]
        assert torch.equal(reverse(partition(x), x), x)


@pytest.mark.parametrize("name", ["swin", "swin_v2"])
def test_tokens_in_windows_lie_where_they_were_cut(name):
    """Windows, shifted ones too, are laid out as the map that they were cut from."""
    flat, x = flat_of(name), torch.randn(2, 3, 64, 64)
    for block in ("0", "1"):
        cut = f"features.1.{block}.attn.partition"
        source = next(step.reads[0] for step in flat.program.steps if step.key == cut)
        with torch.no_grad():
            values = flat.record(x, layers=[source, cut])
        assert torch.equal(grid_of(flat, cut, values[cut], x), values[source].permute(0, 3, 1, 2))


def test_vit_tokens_by_hand():
    """Token 1 + row * side + column is the patch at (row, column); the class token is left out."""
    flat = flat_of("vit")
    tokens = torch.arange(17.0).view(1, 17, 1).expand(2, 17, 16)
    maps = grid_of(flat, "encoder.ln", tokens)
    assert maps.shape == (2, 16, 4, 4)
    assert torch.equal(maps[1, 2], torch.arange(1.0, 17).view(4, 4))
    with pytest.raises(NotApplicable, match=r"activations of shape \(2, 5\)"):
        grid_of(flat, "heads.head", torch.zeros(2, 5))
    with pytest.raises(NotApplicable):
        grid_of(flat, "encoder.ln", torch.zeros(2, 12, 16))  # eleven patches are no square
    with pytest.raises(NotApplicable):
        grid_of(flat, "class_token", torch.zeros(2, 1, 16))  # nor is none


def test_windows_of_maxvit_lie_where_they_were_cut():
    """Both kinds of windows, before they are joined again, are laid out as the map that they become."""
    flat, x = flat_of("maxvit"), torch.randn(2, 3, 64, 64)
    for kind in ("window", "grid"):
        path = f"blocks.0.layers.0.layers.{kind}_attention"
        joined, cut = flat.find(f"{path}.departition_op")[-1], flat.key(f"{path}.add_1")
        with torch.no_grad():
            values = flat.record(x, layers=[joined, cut])
        assert torch.equal(grid_of(flat, cut, values[cut], x), values[joined])


def test_softmax_of_attention_is_a_distribution(named):
    name, flat = named
    if name not in ("vit", "swin", "swin_v2"):
        assert not any(key.endswith(".softmax") for key in flat.layers) or name == "maxvit"
        return
    keys = flat.find("*.softmax")
    with torch.no_grad():
        for weights in flat.record(torch.randn(1, 3, 64, 64), layers=keys).values():
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(adapter, "REGISTRY", dict(adapter.REGISTRY))
    monkeypatch.setattr(adapter, "REWRITES", dict(adapter.REWRITES))


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return {"scores": self.conv(x).mean((2, 3))}


class Heir(Mine):
    pass


def test_an_adapter_is_found_by_class_and_by_base_class(registry):
    @register(f"{__name__}.Mine")
    def mine(network):
        return Adapter(cam_layer="conv", logits=lambda output: output["scores"] * 2)

    for network in (Mine(), Heir()):
        flat = FlatModel.from_nn_Module(network)
        assert flat.adapter.cam_layer == "conv"
        x = torch.randn(2, 3, 4, 4)
        assert torch.equal(flat.logits(flat(x)), network(x)["scores"] * 2)

    @register(f"{__name__}.Heir")
    def heir(network):
        return Adapter(cam_layer="mean")

    assert adapter_of(Heir()).cam_layer == "mean" and adapter_of(Mine()).cam_layer == "conv"
    assert adapter_of(nn.Linear(1, 1)) == Adapter()
    assert FlatModel.from_nn_Module(Mine(), adapter=Adapter(cam_layer="here")).adapter.cam_layer == "here"


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x) if x.sum() > -1e9 else x


class SwishPiece(Piece):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Heiress(Swish):
    def forward(self, x):
        return super().forward(x) + 1 if x.sum() > -1e9 else x


def test_a_rewrite_is_for_its_class_alone(registry):
    network, x = nn.Sequential(Swish(), Heiress()), torch.randn(2, 3)
    assert list(FlatModel.from_nn_Module(network).opaque) == ["0", "1"]

    @rewrite(f"{__name__}.Swish")
    def swish(module):
        return SwishPiece()

    flat = FlatModel.from_nn_Module(network)
    assert list(flat.opaque) == ["1"]
    assert torch.equal(flat(x), network(x))


def test_an_entry_point_that_fails_is_a_warning(monkeypatch):
    class Point:
        name, value = "broken", "nowhere.to.be:found"

        def load(self):
            raise ImportError("no module named nowhere")

    points = importlib.metadata.entry_points
    monkeypatch.setattr(adapter, "entry_points", lambda group: [Point(), *points(group=group)])
    monkeypatch.setattr(adapter, "_discovered", False)
    with pytest.warns(NetLensWarning, match=r"adapter 'broken' \(nowhere\.to\.be:found\) cannot be loaded: no module"):
        assert adapter_of(tv.VisionTransformer(32, 16, 1, 2, 16, 32)).preprocessing.size == (32, 32)


class Answer:
    def __init__(self, logits):
        self.logits = logits


def test_logits_of_the_usual_structures():
    scores = torch.randn(2, 5)
    for output in (
        scores,
        {"logits": scores, "loss": torch.zeros(())},
        {"aux": torch.zeros(2, 5), "out": scores},
        {"anything": scores},
        (scores, torch.zeros(3)),
        [None, scores],
        Answer(scores),
        Answer((scores,)),
    ):
        assert torch.equal(logits_of(output), scores)
    assert logits_of(torch.zeros(3)).shape == (3, 1)
    for nothing in (None, {}, (), "text", {"a": 1}):
        with pytest.raises(NotApplicable, match="holds no class scores"):
            logits_of(nothing)


@pytest.mark.parametrize(("name", "key"), [("convnext", "features.1.1.block.6"), ("swin", "permute")])
def test_maps_that_were_permuted_back_have_their_channels_first(name, key):
    flat, x = flat_of(name), torch.rand(1, 3, 64, 64)
    key = flat.key(key)
    at = flat.record(x, layers=key)[key]
    assert grid_of(flat, key, at) is at and at.shape[2] == at.shape[3] != at.shape[1]


class Alike(nn.Sequential):
    """A network whose library has no base class, but says facts in an attribute."""

    facts: ClassVar[dict[str, str]] = {"layer": "0"}


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(adapter, "REGISTRY", dict(adapter.REGISTRY))
    monkeypatch.setattr(adapter, "BY_ATTRIBUTES", dict(adapter.BY_ATTRIBUTES))

    @register(having=("facts",))
    def by_attribute(network):
        return Adapter(cam_layer=network.facts["layer"], background=7, example=(1, 3, 8, 8))


def test_an_adapter_fits_by_attributes_and_says_what_the_class_leaves_open(registered):
    assert adapter_of(Alike()).cam_layer == "0" and adapter_of(nn.Sequential()) == Adapter()

    @register(f"{Alike.__module__}.{Alike.__qualname__}")
    def by_class(network):
        return Adapter(cam_layer="1")

    both = adapter_of(Alike())
    assert (both.cam_layer, both.background, both.example) == ("1", 7, (1, 3, 8, 8))


class Asks(nn.Module):
    facts: ClassVar[dict[str, str]] = {"layer": "conv"}

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)

    def forward(self, x):
        return self.conv(x).relu() if x.shape[1] == 3 else self.conv(x)


def test_without_an_example_the_shape_of_the_adapter_is_one(registered):
    network = Asks(3).double()
    flat = FlatModel.from_nn_Module(network)
    assert len(flat.assumptions) == 1 and "relu" in flat.layers
    x = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    assert torch.equal(flat(x), network(x))
    with pytest.raises(TraceError):
        FlatModel.from_nn_Module(network, inputs=("x",))  # inputs of a choice, for which the shape is unknown


def test_a_network_that_takes_another_shape_is_unrolled_without_an_example(registered):
    plain = Alike(nn.Conv2d(1, 4, 3), nn.ReLU())
    flat = FlatModel.from_nn_Module(plain)
    assert list(flat.layers) == ["0", "1"] and flat(torch.zeros(1, 1, 8, 8)).shape == (1, 4, 6, 6)
