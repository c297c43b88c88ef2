"""A folded network computes the same with a layer less, on weights of its own."""

import copy

import pytest
import torch
import torchvision.models as tv
from torch import nn
from torch.testing import assert_close

from netlens.errors import NetLensError
from netlens.evaluation import randomized
from netlens.fast import (
    folded,
)
from netlens.fast._folding import (
    fold,
)
from netlens.flat import FlatModel

CONVOLUTIONS = {
    "1d": (nn.Conv1d(4, 6, 3, padding=1), nn.BatchNorm1d(6), (2, 4, 7)),
    "2d in groups": (nn.Conv2d(4, 6, 3, 2, dilation=2, groups=2, bias=False), nn.BatchNorm2d(6), (2, 4, 9, 8)),
    "2d padded by reflection": (
        nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect"),
        nn.BatchNorm2d(6),
        (2, 4, 5, 6),
    ),
    "3d": (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), (2, 2, 3, 4, 5)),
    "1d transposed": (nn.ConvTranspose1d(4, 6, 3, stride=2), nn.BatchNorm1d(6), (2, 4, 5)),
    "2d transposed in groups": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.BatchNorm2d(6),
        (2, 4, 5, 4),
    ),
    "linear": (nn.Linear(4, 6), nn.BatchNorm1d(6), (3, 4)),
    "norm without weights": (nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6, affine=False), (2, 4, 3, 3)),
}
NETWORKS = {
    "resnet": lambda: tv.resnet18(num_classes=5),
    "densenet": lambda: tv.DenseNet(4, (2, 2), 8, num_classes=5),
    "googlenet": lambda: tv.GoogLeNet(5, aux_logits=False, init_weights=False),
    "mobilenet": lambda: tv.mobilenet_v3_small(num_classes=5),
    "shufflenet": lambda: tv.shufflenet_v2_x0_5(num_classes=5),
}


def norms(flat):
    return [key for key, layer in flat.layers.items() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_one_layer_does_what_two_did(kind):
    layer, norm, shape = CONVOLUTIONS[kind]
    pair = randomized(nn.Sequential(layer, norm)).double()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one = fold(*pair)
    assert isinstance(one, type(layer))
    assert_close(one(x), pair(x), rtol=1e-12, atol=1e-13)
    flat = folded(FlatModel.from_nn_Module(pair))
    assert_close(flat(x), pair(x), rtol=1e-12, atol=1e-13)
    assert_close(flat(x, until="0"), pair(x), rtol=1e-12, atol=1e-13)
    assert isinstance(flat.layers["1"], nn.Identity)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_the_same(name):
    torch.manual_seed(0)
    network = randomized(NETWORKS[name]()).double()
    flat = FlatModel.from_nn_Module(network)
    twin = folded(flat)
    x = torch.randn(2, 3, 48, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert list(twin.layers) == list(flat.layers)
    assert_close(twin(x), network(x), rtol=1e-10, atol=1e-12)
    # in densenet most norms stand before a rectifier and a convolution, and read a concatenation
    left = norms(twin)
    assert len(left) == (6 if name == "densenet" else 0) and len(norms(flat)) > len(left)
    for key in left:
        assert twin.layers[key] is flat.layers[key]


def test_in_float32_to_rounding():
    network = randomized(tv.resnet18(num_classes=5))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = copy.deepcopy(network).double()(x.double())
        error = [(run(x).double() - exact).abs().max() / exact.abs().max() for run in (network, folded(_flat(network)))]
    assert error[1] < 4 * error[0] < 1e-4


def _flat(network):
    return FlatModel.from_nn_Module(network)


def test_the_original_and_its_weights_stay():
    network = randomized(tv.resnet18(num_classes=5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flat = FlatModel.from_nn_Module(network)
    twin = folded(flat)
    twin.layers["conv1"].weight.data.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert isinstance(flat.layers["bn1"], nn.BatchNorm2d) and flat.layers["conv1"].weight.abs().sum() > 0
    assert twin.layers["fc"].weight.data_ptr() == network.fc.weight.data_ptr()
    assert folded(twin) is twin
    assert not any(parameter.requires_grad for parameter in twin.parameters())


class Shared(nn.Module):
    """A convolution that something else reads too, or whose output is also the network's; and one called twice."""

    def __init__(self, way):
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.way = way

    def forward(self, x):
        y = self.conv(x)
        if self.way == "read":
            return self.norm(y) + y
        if self.way == "output":
            return self.norm(y), y
        return self.other(self.conv(self.norm(y)))


@pytest.mark.parametrize("way, left", [("read", 1), ("output", 1), ("twice", 0)])
def test_only_what_nobody_else_reads_is_folded(way, left):
    network = randomized(Shared(way)).double()
    flat = folded(FlatModel.from_nn_Module(network))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert len(norms(flat)) == left
    assert_close(flat(x), network(x), rtol=1e-12, atol=1e-13)


def test_a_weight_that_a_hook_computes_and_norms_of_the_batch_stay():
    hooked = nn.Sequential(torch.nn.utils.spectral_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3)).eval()
    of_batch = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    for network in (hooked, of_batch):
        flat = FlatModel.from_nn_Module(network)
        assert folded(flat) is flat


def test_sequences_whose_norm_is_along_time_are_refused_not_miscomputed():
    network = randomized(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)))
    flat = FlatModel.from_nn_Module(network)
    sequences = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    assert flat(sequences).shape == (2, 6, 6)
    with pytest.raises(NetLensError, match="cannot be folded"):
        folded(flat)(sequences)
