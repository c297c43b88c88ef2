"""The user's network is as it was, byte for byte, whatever was done with its flat model."""

import copy
import pickle
import threading

import pytest
import torch
import torchvision.models as tv
from torch import nn

from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks, Normalize, Rules
from netlens.flat.operations import RECTIFIERS
from netlens.rules import GUIDED
from tests.networks.odd import NETWORKS as ODD

NETWORKS = {
    "resnet": (lambda: tv.resnet.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5), 32),
    "inception": (lambda: nn.Sequential(tv.inception.InceptionB(3), tv.inception.InceptionA(483, 4)), 16),
    "vit": (lambda: tv.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5), 32),
    "swin": (lambda: tv.SwinTransformer([4, 4], 12, [2, 2], [3, 6], [4, 4], num_classes=5), 32),
    "mobilenet": (lambda: tv.mobilenet_v3_small(num_classes=5), 32),
    **{name: (lambda name=name: ODD[name]()[0], 8) for name in ("Reused", "TiedWeights", "Stateful")},
}


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network in the middle of training: mixed flags, gradients, hooks of the user's."""
    torch.manual_seed(0)
    make, size = NETWORKS[request.param]
    network = randomized(make())
    network.train()
    for index, parameter in enumerate(network.parameters()):
        parameter.requires_grad_(index % 3 > 0)
        parameter.grad = torch.full_like(parameter, index) if index % 2 else None

    def refuse(*args):
        raise AssertionError("a hook of the user's was called")

    for module in network.modules():
        module.register_forward_hook(refuse)
        module.register_forward_pre_hook(refuse)
        module.register_full_backward_hook(refuse)
    network.size = size
    return network


def picture(network):
    return torch.randn(1, 3, network.size, network.size, generator=torch.Generator().manual_seed(0))


def everything(network):
    """All that a network is: its modules' attributes by identity, and its tensors by content and state."""
    state = {}
    for name, module in network.named_modules():
        for attribute, value in vars(module).items():
            inside = {key: id(item) for key, item in value.items()} if isinstance(value, dict) else None
            state[name, attribute] = (id(value), inside)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        gradient = None if tensor.grad is None else tensor.grad.numpy().tobytes()
        flags = (tensor.data_ptr(), tensor._version, tensor.requires_grad, id(tensor.grad))
        state["tensor", name] = (*flags, tensor.detach().numpy().tobytes(), gradient)
    return state


def use(flat, x):
    flat(x)
    keys = list(flat.layers)
    with Hooks(flat, keys, parameters=True) as hooks:
        output = flat.logits(flat(x))
        output.sum().backward()
    assert len(hooks) == len(keys)
    leaf = x.clone().requires_grad_()
    rules = Rules({"*": GUIDED.rules[RECTIFIERS]})
    flat.logits(flat.with_rules(rules)(leaf)).sum().backward()
    flat.prepend("normalize", Normalize((0.5,) * 3, (0.5,) * 3)).remove("normalize")(x)
    flat.train()
    flat.requires_grad_(True)
    flat.zero_grad()
    flat.resume(flat.record(x, layers=list(flat.frontier(keys[len(keys) // 2]))))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_after_success(network):
    before = everything(network)
    use(FlatModel.from_nn_Module(network), picture(network))
    assert everything(network) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error(network, error):
    before, x = everything(network), picture(network)
    flat = FlatModel.from_nn_Module(network)

    def stop(activation):
        raise error

    with pytest.raises(error), Hooks(flat, len(flat.layers) // 2, edit=stop):
        flat(x)
    with pytest.raises(error), Hooks(flat, 0) as hooks:
        output = flat.logits(flat(x))
        hooks[0]._activation.register_hook(stop)
        output.sum().backward()
    with pytest.raises(RuntimeError):
        flat(x[:, :2])
    assert everything(network) == before


def test_a_trace_that_fails_leaves_no_trace():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            self.maps = self.conv(x)
            raise KeyboardInterrupt if x is not None else ValueError

    network = Broken()
    before, call = everything(network), nn.Module.__call__
    with pytest.raises(KeyboardInterrupt):
        FlatModel.from_nn_Module(network)
    assert everything(network) == before and nn.Module.__call__ is call
    assert FlatModel.from_nn_Module(nn.Conv2d(3, 3, 1)).opaque == {}  # the next trace is not locked out


def test_no_memory_for_parameters_but_the_networks(network):
    flat = FlatModel.from_nn_Module(network)
    storages = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    for name, tensor in (*flat.named_parameters(), *flat.named_buffers()):
        assert tensor.untyped_storage().data_ptr() in storages, name
        assert not tensor.requires_grad and tensor.grad is None


def test_an_optimizer_step_and_new_weights_are_seen(network):
    flat, x = FlatModel.from_nn_Module(network), picture(network)
    before = flat.logits(flat(x)).clone()
    for parameter in network.parameters():
        parameter.requires_grad_(True).grad = torch.ones_like(parameter)
    torch.optim.SGD(network.parameters(), lr=0.05).step()
    stepped = flat.logits(flat(x)).clone()
    assert not torch.equal(stepped, before)
    assert torch.equal(stepped, flat.logits(FlatModel.from_nn_Module(network)(x)))
    network.load_state_dict(randomized(network, seed=1).state_dict())
    loaded = flat.logits(flat(x))
    assert not torch.equal(loaded, stepped)
    assert torch.equal(loaded, flat.logits(FlatModel.from_nn_Module(network)(x)))


def test_pickle_and_deepcopy(network):
    flat, x = FlatModel.from_nn_Module(network), picture(network)
    expected = flat.logits(flat(x))
    for twin in (copy.deepcopy(flat), pickle.loads(pickle.dumps(flat))):
        assert torch.equal(twin.logits(twin(x)), expected)
        assert list(twin.layers) == list(flat.layers) and twin.name == flat.name
        assert not {t.data_ptr() for t in twin.parameters()} & {t.data_ptr() for t in flat.parameters()}
        with Hooks(twin, -1, edit=lambda a: a * 0):
            assert not twin.logits(twin(x)).any()


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_child_keeps_its_mode_and_its_statistics():
    network, (x,) = ODD["Scripted"]()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flat = FlatModel.from_nn_Module(network)
    flat(x)
    assert all(part.training for part in network.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    with torch.no_grad():
        dict(network.child.named_parameters())["0.weight"].zero_()
    assert not dict(flat.named_parameters())["child.module.0.weight"].any()


def test_flattening_in_one_thread_disturbs_no_other():
    torch.manual_seed(0)
    first, second = (randomized(tv.SqueezeNet("1_1", num_classes=5)) for _ in range(2))
    x, call = torch.randn(1, 3, 32, 32), nn.Module.__call__
    expected, checks, errors = first(x), [], []
    done = threading.Event()

    def plain():
        while not done.is_set():
            checks.append(torch.equal(first(x), expected))

    def flatten():
        try:
            for _ in range(8):
                assert torch.equal(FlatModel.from_nn_Module(second)(x), second(x))
        except Exception as error:
            errors.append(error)

    runner, flatteners = threading.Thread(target=plain), [threading.Thread(target=flatten) for _ in range(2)]
    for thread in (runner, *flatteners):
        thread.start()
    for thread in flatteners:
        thread.join()
    done.set()
    runner.join()
    assert not errors
    assert checks and all(checks)
    assert nn.Module.__call__ is call
