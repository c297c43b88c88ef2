"""Hooks read what autograd would give on the plain network, edit what they are asked to, and vanish."""

import threading

import pytest
import torch
import torchvision.models as tv
from torch import nn

from netlens.errors import LayerNotFound, NetLensError, RecordError
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks, edits
from tests.networks.odd import TiedWeights

NETWORKS = {
    "resnet": (lambda: tv.resnet.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5), "layer2"),
    "densenet": (lambda: tv.DenseNet(8, (2, 3, 2), 16, num_classes=5), "features.denseblock2"),
    "mobilenet": (lambda: tv.mobilenet_v3_small(num_classes=5), "features.4"),
    "convnext": (lambda: tv.ConvNeXt([tv.convnext.CNBlockConfig(8, None, 2)], num_classes=5), "features.1.0"),
}


@pytest.fixture(scope="module", params=NETWORKS)
def pair(request):
    """(plain network, flat model, path of a layer inside that is a module's output)."""
    torch.manual_seed(0)
    make, path = NETWORKS[request.param]
    network = randomized(make()).double()
    return network, FlatModel.from_nn_Module(network), path


@pytest.fixture
def x():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def small():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3)).double()
    return network, FlatModel.from_nn_Module(network)


@pytest.fixture
def patch():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_autograd(network, path, x, edit=None):
    """The activation and gradient at a module, by a hook of torch's own, and all parameter gradients."""
    tensors = {}

    def hook(module, args, output):
        output = output.clone() if edit is None else edit(output)
        output.retain_grad()
        tensors["activation"] = output
        return output

    handle = network.get_submodule(path).register_forward_hook(hook)
    output = network(x)
    handle.remove()
    parameters = dict(network.named_parameters())
    loss = output[:, 1].sum()
    gradients = torch.autograd.grad(loss, [tensors["activation"], *parameters.values()], allow_unused=True)
    return output, tensors["activation"].detach(), gradients[0], dict(zip(parameters, gradients[1:], strict=True))


def test_activations_and_gradients_are_autograds(pair, x):
    network, flat, path = pair
    _, activation, gradient, _ = by_autograd(network, path, x)
    with Hooks(flat, path) as hooks:
        flat(x)[:, 1].sum().backward()
    torch.testing.assert_close(hooks[path].activation, activation, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(hooks[path].gradient, gradient, rtol=1e-10, atol=1e-14)


def test_the_gradient_at_the_input_is_autograds(pair, x):
    network, flat, _ = pair
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)
    with Hooks(flat, "input") as hooks:
        flat(x)[:, 1].sum().backward()
    torch.testing.assert_close(hooks["input"].gradient, expected, rtol=1e-10, atol=1e-14)
    assert x.grad is None and not x.requires_grad


def name_in_network(key: str, name: str) -> str:
    """The name in the network of a parameter of a layer: of a module, a constant, or the call of a function."""
    if name == "value":
        return key
    is_call = key.endswith((".layer_norm", ".conv2d"))
    return f"{key.rpartition('.')[0] if is_call else key}.{name}"


def test_parameter_gradients_are_autograds_and_stay_off_the_network(pair, x):
    network, flat, path = pair
    *_, expected = by_autograd(network, path, x)
    keys = [
        key
        for key, layer in flat.layers.items()
        if any(name_in_network(key, name) in expected for name, _ in layer.named_parameters())
    ]
    with Hooks(flat, keys, gradients=False, parameters=True) as hooks:
        flat(x)[:, 1].sum().backward()
    compared = 0
    for key in keys:
        for name, gradient in hooks[key].parameter_gradients.items():
            torch.testing.assert_close(gradient, expected[name_in_network(key, name)], rtol=1e-9, atol=1e-12)
            compared += 1
    assert compared == sum(gradient is not None for gradient in expected.values())
    for parameter in (*network.parameters(), *flat.parameters()):
        assert parameter.grad is None


def test_tied_weights_have_a_gradient_at_each_use():
    network, x = randomized(TiedWeights()).double(), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    flat = FlatModel.from_nn_Module(network)
    (expected,) = torch.autograd.grad(network(x).sum(), network.first.weight)
    keys = ["first", "second", "conv2d"]  # the last one is a call of the function with the same weight
    with Hooks(flat, keys, gradients=False, parameters=True) as hooks:
        flat(x).sum().backward()
    uses = [hooks[key].parameter_gradients for key in keys]
    torch.testing.assert_close(sum(use["weight"] for use in uses), expected)


EDITS = {
    "zero": (edits.zero([0, 3]), lambda a: a * torch.tensor([0.0, 1, 1, 0] + [1] * (a.shape[1] - 4)).view(1, -1, 1, 1)),
    "half": (lambda a: a / 2, lambda a: a / 2),
    "in place": (lambda a: a.mul_(-1), lambda a: -a),
    "constant": (lambda a: torch.ones_like(a), lambda a: 0 * a + 1),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_that_edit_of_the_module(pair, x, edit):
    network, flat, path = pair
    ours, theirs = EDITS[edit]
    expected, activation, gradient, _ = by_autograd(network, path, x, theirs)
    with Hooks(flat, path, edit=ours) as hooks:
        output = flat(x)
        output[:, 1].sum().backward()
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(hooks[path].activation, activation, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(hooks[path].gradient, gradient, rtol=1e-10, atol=1e-13)
    assert torch.equal(flat(x), FlatModel.from_nn_Module(network)(x))


def test_added_direction_and_substitute(small, patch):
    network, flat = small
    direction = torch.tensor([1.0, -2, 3, 0.5])
    with Hooks(flat, "1", edit=edits.add(direction, scale=2)):
        steered = flat(patch)
    assert torch.equal(steered, network[2:](network[:2](patch) + 2 * direction.double().view(1, 4, 1, 1)))
    fixed = torch.rand(4, 6, 6)
    with Hooks(flat, "0", edit=edits.substitute(fixed)):
        assert torch.equal(flat(patch), network[1:](fixed.double().repeat(2, 1, 1, 1)))


def test_an_edit_in_place_changes_nothing_recorded_elsewhere(small, patch):
    network, flat = small
    with Hooks(flat, ["0", "1"], edit={"1": lambda a: a.zero_()}) as hooks:
        flat(patch)
    assert torch.equal(hooks["0"].activation, network[0](patch))
    assert not hooks["1"].activation.any()


def test_hooks_nest(small, patch):
    _, flat = small
    plain = flat(patch, until="0")
    with Hooks(flat, "0", edit=lambda a: a + 1) as outer:
        with Hooks(flat, ["0", "3"], edit={"0": lambda a: a * 2}) as inner:
            flat(patch)[0, 0].backward()
        assert torch.equal(inner["0"].activation, (plain + 1) * 2)
        assert torch.equal(outer["0"].activation, plain + 1)
        assert torch.equal(outer["0"].gradient, 2 * inner["0"].gradient)
        assert torch.equal(flat(patch, until="0"), plain + 1)
    assert torch.equal(flat(patch, until="0"), plain)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_gradients_are_read_also_where_gradients_are_off(pair, x, around):
    network, flat, path = pair
    _, _, expected, _ = by_autograd(network, path, x)
    with around():
        with Hooks(flat, ["input", path]) as hooks:
            flat(x.clone())[:, 1].sum().backward()  # in inference mode the copy is an inference tensor
        assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled() == (around is torch.inference_mode)
    torch.testing.assert_close(hooks[path].gradient, expected, rtol=1e-10, atol=1e-14)


def test_no_gradients_means_no_graph(small, patch):
    _, flat = small
    with Hooks(flat, "1", gradients=False) as hooks:
        assert flat(patch).grad_fn is None
    with pytest.raises(RecordError, match="pass gradients=True"):
        _ = hooks["1"].gradient


def test_a_users_own_input_tensor_keeps_no_hook(small, patch):
    _, flat = small
    leaf = patch.requires_grad_()
    with Hooks(flat, "input") as hooks:
        flat(leaf)[0, 0].backward()
    first = hooks["input"].gradient
    assert torch.equal(leaf.grad, first)
    (leaf * 5).sum().backward()
    assert torch.equal(hooks["input"].gradient, first)
    assert not leaf._backward_hooks


def test_several_threads_with_hooks_of_their_own(small, patch):
    _, flat = small
    scales = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]

    def run(scale):
        with Hooks(flat, ["0", "1"], edit={"0": lambda a: a * scale}) as hooks:
            flat(patch)[0, 0].backward()
            return hooks["1"].activation, hooks["0"].gradient

    expected, got, start = [run(scale) for scale in scales], {}, threading.Barrier(len(scales) + 1)

    def work(scale):
        start.wait()
        got[scale] = [run(scale) for _ in range(5)]

    def plain():
        start.wait()
        got[None] = [flat(patch) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(scale,)) for scale in scales] + [threading.Thread(target=plain)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for scale, reference in zip(scales, expected, strict=True):
        for activation, gradient in got[scale]:
            assert torch.equal(activation, reference[0]) and torch.equal(gradient, reference[1])
    assert all(torch.equal(output, flat(patch)) for output in got[None])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_hooks_vanish_also_when_something_goes_wrong(small, patch, error):
    _, flat = small
    plain = flat(patch)

    def fail(activation):
        raise error("stop")

    with torch.no_grad():
        with pytest.raises(error), Hooks(flat, "1", edit=fail):
            flat(patch)
        assert not torch.is_grad_enabled()
    assert torch.equal(flat(patch), plain)


def test_until_and_resume_are_hooked_too(small, patch):
    _, flat = small
    with Hooks(flat, ["0", "3"]) as hooks:
        flat(patch, until="0").sum().backward()
        assert (hooks["0"].gradient == 1).all()
        with pytest.raises(RecordError, match="'3' has not run yet"):
            _ = hooks["3"].activation
        flat.resume({"1": flat(patch, until="1")})
        assert hooks["3"].activation.shape == (2, 3)


def test_mistakes_are_named(small, patch):
    _, flat = small
    with pytest.raises(LayerNotFound, match="no layer 'relu9'"):
        Hooks(flat, "relu9")
    with pytest.raises(LayerNotFound, match="no layer 'relu9'"):
        Hooks(flat, "1", edit={"relu9": lambda a: a})
    with Hooks(flat, "1", parameters=True) as hooks:
        with pytest.raises(RecordError, match="has not run yet"):
            _ = hooks["1"].activation
        flat(patch)
        with pytest.raises(RecordError, match=r"no gradient has reached '1' yet: call \.backward"):
            _ = hooks["1"].gradient
        with pytest.raises(RecordError, match=r"'0' was not recorded\. Recorded: '1'"):
            _ = hooks["0"]
        with pytest.raises(RecordError, match="no gradients of parameters: the layer has no parameters"):
            _ = hooks["1"].parameter_gradients
    with pytest.raises(NetLensError, match=r'"output" is the return value of flat\(x\)'):
        Hooks(flat, "output")


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda a: None, r"edit of '1' must return a tensor of shape \(2, 4, 6, 6\), not NoneType"),
        (lambda a: a.mean((2, 3)), r"must return .* not \(2, 4\)"),
        (edits.zero(4), "no channel 4; the layer has channels 0 to 3"),
        (edits.zero(-1), "no channel -1"),
        (edits.add(torch.ones(3)), r"shape \(3,\); this layer needs \(4,\)"),
    ],
)
def test_edits_that_do_not_fit_are_named(small, patch, edit, message):
    with pytest.raises(NetLensError, match=message), Hooks(small[1], "1", edit=edit):
        small[1](patch)
