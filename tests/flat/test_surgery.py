"""The list of layers can be edited; each edit is a new flat model on the same weights."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import Saliency
from netlens.errors import LayerNotFound, NetLensError
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Normalize
from netlens.objectives import logit
from tests.networks.odd import Branches, NestedOutput, SeveralInputs

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return randomized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)))


@pytest.fixture
def flat(network):
    return FlatModel.from_nn_Module(network)


@pytest.fixture
def x():
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Double(nn.Module):
    def forward(self, x):
        return x * 2


def pointers(module):
    return {tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prepended_normalize_is_normalizing_by_hand(network, x, dtype):
    network, x = network.to(dtype), x.to(dtype)
    flat = FlatModel.from_nn_Module(network).prepend("normalize", Normalize(MEAN, STD))
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1).to(dtype) for values in (MEAN, STD))
    assert list(flat.layers) == ["normalize", "0", "1", "2", "3"]
    assert torch.equal(flat(x), network((x - mean) / std))


def test_insert_after_and_before(network, flat, x):
    first, second, third, last = network
    after = flat.insert_after("1", "double", Double())
    assert list(after.layers) == ["0", "1", "double", "2", "3"]
    assert torch.equal(after(x), last(third(second(first(x)) * 2)))
    before = flat.insert_before("3", "double", Double())
    assert torch.equal(before(x), last(third(second(first(x))) * 2))
    assert torch.equal(flat.insert_after(-1, "double", Double())(x), network(x) * 2)


def test_insert_before_one_reader_leaves_the_others(x):
    network = Branches()
    flat = FlatModel.from_nn_Module(network).insert_before("right", "zero", nn.Threshold(1e9, 0.0))
    plain = FlatModel.from_nn_Module(network)
    assert torch.equal(flat(x, until="left"), plain(x, until="left"))
    assert torch.equal(flat(x, until="right"), network.right(torch.zeros_like(x)))


def test_insert_after_an_input_reaches_all_its_readers(x):
    network = Branches()
    assert torch.equal(FlatModel.from_nn_Module(network).prepend("double", Double())(x), network(x * 2))
    several = FlatModel.from_nn_Module(SeveralInputs())
    weight = torch.tensor(3.0)
    assert torch.equal(several.insert_after("weight", "double", Double())(x, weight), several(x, weight * 2))


def test_replace_and_remove(network, flat, x):
    first, second, third, last = network
    replaced = flat.replace("2", nn.Tanh())
    assert torch.equal(replaced(x), last(torch.tanh(second(first(x)))))
    assert list(replaced.layers) == list(flat.layers)
    removed = flat.remove("2")
    assert torch.equal(removed(x), last(second(first(x))))
    assert torch.equal(flat.remove(-1)(x), third(second(first(x))))
    with pytest.raises(NetLensError, match=r"'mul' reads 2 values \(left, sigmoid\).*replace it"):
        FlatModel.from_nn_Module(Branches()).remove("mul")


def test_cut_ends_after_the_layer(flat, x):
    cut = flat.cut("1")
    assert list(cut.layers) == ["0", "1"]
    assert torch.equal(cut(x), flat(x, until="1"))
    nested = FlatModel.from_nn_Module(NestedOutput())
    assert torch.equal(nested.cut("mean")(x), nested(x, until="mean"))


def test_the_edited_model_shares_weights_and_the_first_stays_as_it_was(network, flat, x):
    before, keys = flat(x), list(flat.layers)
    edits = [
        *(flat.prepend("a", Double()), flat.insert_after("1", "a", Double()), flat.insert_before("1", "a", Double())),
        *(flat.replace("2", nn.Tanh()), flat.remove("2"), flat.cut(-1)),
    ]
    assert all(pointers(edited) == pointers(network) for edited in edits)
    assert torch.equal(flat(x), before) and list(flat.layers) == keys
    chained = flat.prepend("a", Double()).remove("a").insert_after("0", "b", Double()).remove("b")
    assert torch.equal(chained(x), before)


def test_inserted_layers_predict_too(flat, x):
    """A flat model is in eval mode and pure, and so is what is put into it."""
    layer = nn.Sequential(nn.Dropout(0.5), nn.ReLU(inplace=True))
    edited = flat.insert_after("0", "drop", layer)
    values = edited.record(x, layers=["0", "drop"])
    assert torch.equal(values["0"], flat(x, until="0"))
    assert torch.equal(values["drop"], values["0"].relu())
    assert layer.training and layer[1].inplace


def test_suffixes_and_recording_work_on_edited_models(flat, x):
    edited = flat.insert_after("1", "double", Double())
    for key in edited.layers:
        cut = edited.record(x, layers=list(edited.frontier(key)))
        assert torch.equal(edited.resume(cut), edited(x))


def test_mistakes_are_named(flat):
    with pytest.raises(NetLensError, match="the name '1' is taken already"):
        flat.insert_after("0", "1", Double())
    with pytest.raises(NetLensError, match="the name 'input' is taken already"):
        flat.prepend("input", Double())
    with pytest.raises(LayerNotFound, match="no layer 'conv9'"):
        flat.remove("conv9")
    constant = FlatModel.from_nn_Module(Branches())
    with pytest.raises(NetLensError, match="'scale' reads nothing"):
        constant.insert_before("scale", "double", Double())


class _Centered(nn.Module):
    """Asks for a view that maps whose channels lie last do not have."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.view(len(x), -1).mean(1)[:, None, None, None]


def test_a_module_of_ones_own_gets_maps_that_it_can_view() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    flat = FlatModel.from_nn_Module(module).prepend("centered", _Centered()).insert_after("1", "again", _Centered())
    x = torch.randn(1, 3, 8, 8)
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(flat(point)[0, 1], point)
    assert_close(Saliency()(flat, x, logit(1)).values, gradient.abs())


def test_what_replaced_an_opaque_layer_is_not() -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 4, 3), Counting()))
    assert list(flat.opaque) == ["1"] and not flat.replace("1", nn.Identity()).opaque
