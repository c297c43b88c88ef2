"""What is traced computes what the network computes, whatever way the network is written in."""

import copy
import dataclasses
import pickle

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from netlens.errors import NetLensError, TraceError
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.flat.layers import Opaque
from tests.networks.odd import NETWORKS, Branches, NestedOutput, Reused, SeveralInputs, TiedWeights

UNPICKLABLE = ("Scripted", "Parametrised")  # torch itself pickles no such modules
UNCONVERTIBLE = ("NestedLists", "Branches")  # what torch does not know of stays float32


def leaves(value):
    """The leaves of an output, and its structure."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    return pytree.tree_flatten(value)


def assert_same(left, right):
    """Equal in structure and type, and bit for bit."""
    (lefts, tree), (rights, other) = leaves(left), leaves(right)
    assert tree == other
    for a, b in zip(lefts, rights, strict=True):
        assert type(a) is type(b)
        assert torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, torch.Tensor) else a == b


def plain(network, inputs):
    return network(inputs[0], weight=inputs[1]) if len(inputs) > 1 else network(*inputs)


@pytest.fixture(params=NETWORKS)
def odd(request):
    torch.manual_seed(0)
    network, inputs = NETWORKS[request.param]()
    return request.param, randomized(network), inputs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
class TestOddNetworks:
    def test_flat_equals_the_network(self, odd):
        name, network, inputs = odd
        flat = FlatModel.from_nn_Module(network)
        assert_same(flat(*inputs), plain(network.eval(), inputs))
        with torch.inference_mode():
            assert_same(flat(*inputs), plain(network.eval(), inputs))
        assert list(flat.opaque) == (["child"] if name == "Scripted" else [])

    @pytest.mark.parametrize("odd", [name for name in NETWORKS if name not in UNCONVERTIBLE], indirect=True)
    def test_in_other_precisions(self, odd):
        _, network, inputs = odd
        for dtype in (torch.float64, torch.bfloat16):
            lower = network.to(dtype).eval()
            tensors = [x.to(dtype) for x in inputs]
            assert_same(FlatModel.from_nn_Module(lower)(*tensors), plain(lower, tensors))

    def test_no_layer_is_called_twice_and_none_works_in_place(self, odd):
        _, network, inputs = odd
        flat = FlatModel.from_nn_Module(network)
        calls = {}
        for key, layer in flat.layers.items():
            layer.register_forward_hook(lambda *_, key=key: calls.update({key: calls.get(key, 0) + 1}))
        flat(*inputs)
        assert set(calls.values()) == {1}
        assert len({id(layer) for layer in flat.layers.values()}) == len(flat.layers)
        pure = [layer for layer in flat.layers.values() if not isinstance(layer, Opaque)]
        assert not any(getattr(part, "inplace", False) for layer in pure for part in layer.modules())

    def test_recorded_activations_are_not_overwritten(self, odd):
        _, network, inputs = odd
        flat = FlatModel.from_nn_Module(network)
        records = [(x, x.clone(), x._version) for x in inputs]

        def see(layer, args, output):
            records.extend((x, x.clone(), x._version) for x in leaves(output)[0] if isinstance(x, torch.Tensor))

        for layer in flat.layers.values():
            layer.register_forward_hook(see)
        flat(*inputs)
        assert len(records) > len(flat.layers)
        for tensor, value, version in records:
            assert torch.equal(tensor, value)
            assert tensor._version == version

    def test_copies_compute_the_same(self, odd):
        name, network, inputs = odd
        flat = FlatModel.from_nn_Module(network)
        assert_same(copy.deepcopy(flat)(*inputs), flat(*inputs))
        if name not in UNPICKLABLE:
            assert_same(pickle.loads(pickle.dumps(flat))(*inputs), flat(*inputs))

    def test_every_gradient_at_the_input_is_the_networks(self, odd):
        _, network, inputs = odd
        network.eval()

        def gradient(run):
            leaf = inputs[0].clone().requires_grad_()
            outputs, _ = leaves(run((leaf, *inputs[1:])))
            sum(out.square().sum() for out in outputs if isinstance(out, torch.Tensor)).backward()
            return leaf.grad

        expected = gradient(lambda values: plain(network, values))
        assert torch.allclose(gradient(lambda values: FlatModel.from_nn_Module(network)(*values)), expected, atol=1e-6)


class Halting(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.conv(x)
        if y.mean() > 0:
            return y * 2
        return y


class Mutating(nn.Module):
    """Changes its input in place, depending on the data."""

    def forward(self, x):
        if x.sum() > -1e9:
            x.mul_(2)
        return x + 1


class Remembering(nn.Module):
    """Keeps a value between calls, and cannot be traced."""

    def __init__(self):
        super().__init__()
        self.last = None

    def forward(self, x):
        first = self.last is None
        self.last = x * 2
        return x * 3 if first and self.last.sum() != 0 else x * 5


class Holder(nn.Module):
    def __init__(self, part, combine):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.outer = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Identity(), part))
        self.combine = combine

    def forward(self, x):
        y = self.conv(x)
        return self.combine(y, self.outer[1][1](y))


@pytest.fixture
def image():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_data_dependent_control_flow_is_the_smallest_opaque_layer(image):
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(Halting(), nn.ReLU())).eval()
    flat = FlatModel.from_nn_Module(network)
    assert list(flat.opaque) == ["1.0"]
    assert list(flat.layers) == ["0", "1.0", "1.1"]
    assert "test_trace.py" in flat.opaque["1.0"] and "if y.mean() > 0" in flat.opaque["1.0"]
    assert torch.equal(flat(image), network(image))
    assert torch.equal(flat(-image), network(-image))


def test_control_flow_in_the_networks_own_forward_is_an_error_that_names_the_line():
    with pytest.raises(TraceError, match=r"Halting.*test_trace\.py:\d+: `if y\.mean\(\) > 0:`"):
        FlatModel.from_nn_Module(Halting())


@pytest.mark.parametrize("inference", [True, False])
def test_an_opaque_layer_changes_no_recorded_activation(image, inference):
    network = Holder(Mutating(), lambda x, y: y)
    with torch.inference_mode(inference):
        flat = FlatModel.from_nn_Module(network)
        assert torch.equal(flat(image), network(image))
        before = flat(image, until="conv")
        assert torch.equal(flat.record(image, layers=["conv", "outer"])["conv"], before)


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("combine", [torch.add, lambda x, y: x.view(-1)[:3]])
def test_an_opaque_layer_that_changes_what_is_read_again_is_an_error_and_no_wrong_answer(image, inference, combine):
    with torch.inference_mode(inference):
        flat = FlatModel.from_nn_Module(Holder(Mutating(), combine))
        if "outer.1.1" in flat.layers:
            with pytest.raises(TraceError, match="Mutating changes its input in place"):
                flat(image)


def test_what_a_failed_trace_left_in_a_module_is_taken_back(image):
    flat = FlatModel.from_nn_Module(nn.Sequential(Remembering()))
    assert torch.equal(flat(image), image * 3)
    assert torch.equal(flat(image), image * 3)  # what the module keeps is read, and never written


def test_assertions_hold_still(image):
    class Asserting(nn.Module):
        def forward(self, x):
            torch._assert(x.shape[1] == 3, "three channels")
            return x * 2

    flat = FlatModel.from_nn_Module(Asserting())
    assert torch.equal(flat(image), image * 2)
    with pytest.raises(AssertionError, match="three channels"):
        flat(image[:, :2])


def test_assert_statements_are_kept_and_negations_not_mistaken(image):
    network, inputs = NETWORKS["ShapeArithmetic"]()
    flat = FlatModel.from_nn_Module(network)
    assert torch.equal(flat(*inputs), network(*inputs))
    with pytest.raises(AssertionError, match="line"):
        flat(torch.ones(2, 4, 8, 8))


def test_inputs_are_named_and_others_keep_their_defaults(image):
    network = SeveralInputs()
    weight, mask = torch.randn(1, 3, 1, 1), torch.randn(8)
    flat = FlatModel.from_nn_Module(network, inputs=["weight", "image", "mask"])
    assert flat.inputs == ("weight", "image", "mask")
    assert torch.equal(flat(weight, image, mask), network(image, weight=weight, mask=mask))
    with pytest.raises(TraceError, match="no argument 'picture'"):
        FlatModel.from_nn_Module(network, inputs=["picture"])
    with pytest.raises(NetLensError, match=r"takes 3 input\(s\) \(weight, image, mask\), but got 1"):
        flat(image)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda m: nn.DataParallel(torch.compile(m))])
def test_wrappers_are_taken_off_at_the_top_and_inside(wrap, image):
    network = randomized(Reused())
    for wrapped, keys in ((wrap(network), ""), (nn.Sequential(wrap(network)), "0.")):
        flat = FlatModel.from_nn_Module(wrapped)
        assert torch.equal(flat(image), network(image))
        assert next(iter(flat.layers)) == f"{keys}block.0"


def test_a_flat_model_is_flat_already(image):
    flat = FlatModel.from_nn_Module(Branches())
    assert FlatModel.from_nn_Module(flat) is flat
    outer = nn.Sequential(nn.Identity(), flat)
    assert torch.equal(FlatModel.from_nn_Module(outer)(image), flat(image))


def test_frozen_and_tied_weights_are_shared(image):
    network = randomized(TiedWeights()).requires_grad_(False)
    flat = FlatModel.from_nn_Module(network)
    assert torch.equal(flat(image), network(image))
    pointers = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert {tensor.data_ptr() for tensor in flat.state_dict().values()} == pointers


def test_lazy_and_foreign_things_are_clear_errors():
    with pytest.raises(TraceError, match="lazy parameters"):
        FlatModel.from_nn_Module(nn.Sequential(nn.LazyConv2d(3, 1)))
    with pytest.raises(NetLensError, match=r"torch\.nn\.Module, not a str"):
        FlatModel.from_nn_Module("resnet50")


def test_an_output_that_is_an_input_or_a_constant(image):
    class Bare(nn.Module):
        def forward(self, x):
            return x, 3, None

    assert_same(FlatModel.from_nn_Module(Bare())(image), (image, 3, None))
    flat = FlatModel.from_nn_Module(NestedOutput())
    assert flat.logits(flat(image)).shape == (2, 3, 8, 8)


def test_a_maximum_along_a_dimension_is_one_tensor_unless_its_indices_are_read(image):
    class Largest(nn.Module):
        def forward(self, x):
            values, _ = x.max(1, keepdim=True)
            return values + torch.min(x, dim=1, keepdim=True).values, x.max(2)

    flat = FlatModel.from_nn_Module(Largest())
    values, both = flat(image)
    assert torch.equal(values, Largest()(image)[0]) and torch.equal(both[1], image.max(2)[1])
    assert list(flat.layers) == ["max", "min", "add", "max_1"]
    assert all(isinstance(flat.record(image, layers=key)[key], torch.Tensor) for key in ("max", "min"))
