"""A layer is found by key, path, glob, type and index; a wrong name is told its neighbors."""

import pytest
import torchvision.models as tv
from torch import nn

from netlens.errors import LayerNotFound
from netlens.flat import FlatModel


@pytest.fixture(scope="module")
def flat():
    return FlatModel.from_nn_Module(tv.resnet18(num_classes=5))


def test_names_are_paths_in_the_original(flat):
    network = dict(tv.resnet18(num_classes=5).named_modules())
    for key, layer in flat.layers.items():
        owner = network.get(key)
        assert owner is None or type(owner) is type(layer)
    assert [key for key in flat.layers if key.startswith("layer1.0")] == [
        *("layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu", "layer1.0.conv2", "layer1.0.bn2"),
        *("layer1.0.add", "layer1.0.relu_1"),
    ]


@pytest.mark.parametrize(
    "name, key",
    [
        ("layer1.0.relu_1", "layer1.0.relu_1"),
        ("layer1.0", "layer1.0.relu_1"),
        ("layer2", "layer2.1.relu_1"),
        ("layer*.0.relu", "layer4.0.relu"),
        (nn.MaxPool2d, "maxpool"),
        (nn.Conv2d, "layer4.1.conv2"),
        (0, "conv1"),
        (-1, "fc"),
        ("input", "input"),
    ],
)
def test_one_key_for_every_kind_of_name(flat, name, key):
    assert flat.key(name) == key
    if key != "input":
        assert flat.layers[name] is flat.layers[key]


def test_all_keys_of_a_name(flat):
    assert flat.find("layer?.1.relu_1") == [f"layer{i}.1.relu_1" for i in (1, 2, 3, 4)]
    assert flat.find("layer3") == ["layer3.1.relu_1"]
    assert flat.find(nn.Linear) == ["fc"]
    assert len(flat.find(nn.Conv2d)) == 20
    assert flat.keys_of(["fc", "conv1", nn.MaxPool2d, "fc", "output", "input"]) == [
        *("output", "input", "conv1", "maxpool", "fc")
    ]


@pytest.mark.parametrize(
    "name, message",
    [
        ("layer4.1.relu2", r"resnet has no layer 'layer4.1.relu2'. Closest: 'layer4.1.relu"),
        ("layer5", r"no layer 'layer5'. Closest: 'layer[1-4]'"),
        ("layer5.*", r"no layer 'layer5\.\*'"),
        (nn.GELU, r"no layer of type GELU; its types: .*Conv2d"),
        (200, r"there is no layer 200"),
        (-200, r"there is no layer -200"),
        (True, r"not by True"),
        (1.5, r"not by 1\.5"),
        ("", r"no layer ''"),
    ],
)
def test_a_wrong_name_is_told_what_there_is(flat, name, message):
    with pytest.raises(LayerNotFound, match=message):
        flat.key(name)


def test_the_mapping_is_ordered(flat):
    keys = list(flat.layers)
    assert keys[0] == "conv1" and keys[-2:] == ["flatten", "fc"]
    assert len(flat.layers) == len(keys) == len(flat.layers.items())
    assert {name.rsplit(".", 1)[0] for name, _ in flat.named_parameters()} <= set(keys)


NAMES = [
    "layer1.0.relu",
    "layer1",
    "layer*.0.relu*",
    "layer5",
    "layer5.*",
    nn.Conv2d,
    nn.GELU,
    int,
    0,
    -1,
    200,
    True,
    1.5,
    "",
]


@pytest.mark.parametrize("name", [*NAMES, None, [], ("conv1",)])
def test_a_name_is_in_the_layers_exactly_when_it_gives_a_layer(flat, name):
    try:
        flat.layers[name]
    except LayerNotFound:
        assert name not in flat.layers and flat.layers.get(name) is None
    else:
        assert name in flat.layers and flat.layers.get(name) is flat.layers[name]


def test_only_an_exact_key_is_a_key(flat):
    assert flat.layers.has("layer1.0.relu") and not flat.layers.has("layer1")
