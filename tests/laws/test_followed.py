"""What was flattened is what runs: a change of the network is followed at the next call, or refused."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from netlens import NetLens
from netlens.attribution import DeepLift, GradCAM, Occlusion, Saliency
from netlens.errors import NetLensError
from netlens.flat import FlatModel, Hooks
from netlens.objectives import channel, logit
from netlens.rules import GUIDED
from netlens.visualization import Fourier, OptVis


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = [nn.Conv2d(3, 4, 3, padding=1)]  # a plain list, of which torch does not know
        self.norm, self.act, self.fc = nn.BatchNorm2d(4), nn.ReLU(), nn.Linear(4, 3)
        self.power, self.shift = 1.0, torch.tensor(0.5)
        self.calls, self.maps = 0, None
        self.options = {"scale": 1.0}

    def forward(self, x):
        self.calls += 1
        self.maps = self.act(self.norm(self.blocks[0](x)))
        return self.fc(self.maps.mean((2, 3)) * self.power * self.options["scale"] + self.shift)


def network() -> Net:
    torch.manual_seed(0)
    net = Net()
    net.blocks[0].double()
    net.shift = net.shift.double()
    nn.init.uniform_(net.norm.running_mean)
    return net.double().eval()


def image() -> Tensor:
    return torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def set_eps(net):
    net.norm.eps = 0.1


def replace_weight(net):
    net.fc.weight = nn.Parameter(net.fc.weight.detach().flip(0) * 2)


def move_weight(net):
    net.fc.weight.data = net.fc.weight.data * 3


def replace_buffer(net):
    net.norm.running_var = net.norm.running_var + 1


def exchange_module(net):
    net.act = nn.GELU()


def exchange_in_a_list(net):
    net.blocks[0] = nn.Conv2d(3, 4, 5, padding=2).double()


def set_attribute(net):
    net.power = 2.0


def set_tensor(net):
    net.shift = torch.tensor(-1.0, dtype=torch.float64)


def set_option(net):
    net.options["scale"] = 0.25


def add_parametrization(net):
    nn.utils.parametrizations.weight_norm(net.fc)
    with torch.no_grad():
        net.fc.parametrizations.weight.original0.mul_(2)


CHANGES = [
    *(set_eps, replace_weight, move_weight, replace_buffer, exchange_module, exchange_in_a_list),
    *(set_attribute, set_tensor, set_option, add_parametrization),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_followed(change):
    net, x = network(), image()
    flat = FlatModel.from_nn_Module(net)
    lens, before = NetLens(flat, x, target=2), flat(x)
    methods = [Saliency(), GradCAM(layer="act"), DeepLift(), Occlusion(window=3, stride=3)]
    for method in methods:
        method(flat, x, logit(2))
    change(net)
    fresh = FlatModel.from_nn_Module(net)
    for method in methods:  # each is the first call after a change, in its turn
        assert torch.equal(method(flat, x, logit(2)).values, method(fresh, x, logit(2)).values)
        assert torch.equal(lens.attribute(method).values, method(fresh, x, logit(2)).values)
    assert torch.equal(flat(x), net(x))
    assert not torch.equal(flat(x), before)
    assert torch.equal(flat.record(x, layers="act")["act"], net.maps)
    with Hooks(flat, ["act"]) as hooks:
        flat(x)
    assert torch.equal(hooks["act"].activation, net.maps)


@pytest.mark.parametrize("change", [set_eps, replace_weight, exchange_module])
@pytest.mark.parametrize(
    "view",
    [lambda flat: flat.with_rules(GUIDED), lambda flat: flat.cut("fc"), lambda flat: flat.remove("norm")],
    ids=["rules", "cut", "removed"],
)
def test_a_view_of_a_network_that_has_changed_is_refused(change, view):
    net = network()
    flat = FlatModel.from_nn_Module(net)
    model = view(flat)
    model(image())
    change(net)
    with pytest.raises(NetLensError, match="has changed"):
        model(image())
    with pytest.raises(NetLensError, match="has changed"):
        Saliency()(model, image(), logit(2))
    assert view(flat)(image()).shape == (1, 3)


def test_a_view_with_other_knowledge_follows():
    net = network()
    view = FlatModel.from_nn_Module(net).knowing(name="mine")
    set_eps(net)
    assert torch.equal(view(image()), net(image()))


def test_what_is_no_change_unrolls_nothing_again():
    net, x = network(), image()
    flat = FlatModel.from_nn_Module(net)
    program = flat.program
    net(x)  # counts and remembers
    net.train()
    net.fc.requires_grad_(False)
    net.norm.eps = float("1e-5")  # an equal number
    net.fc.register_forward_hook(lambda *args: None)
    with torch.no_grad():
        net.fc.weight.mul_(2)
    net.load_state_dict(net.state_dict())
    net.eval()
    assert torch.equal(flat(x), net(x))
    assert flat.program is program


def test_old_weight_norm_is_no_change():
    module = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))).double().eval()
    flat = FlatModel.from_nn_Module(module)
    program = flat.program
    assert torch.equal(module(image()), flat(image()))
    assert flat.program is program


def test_a_copy_keeps_what_it_was():
    net = network()
    flat = FlatModel.from_nn_Module(net)
    copies, before = [copy.deepcopy(flat), pickle.loads(pickle.dumps(flat))], flat(image())
    set_attribute(net)
    for one in copies:
        assert torch.equal(one(image()), before)


def test_a_change_that_cannot_be_unrolled_says_so():
    net = network()
    flat = FlatModel.from_nn_Module(net)
    net.fc = None
    with pytest.raises(NetLensError):
        flat(image())


def test_pictures_are_of_the_network_as_it_is():
    net = network().float()
    net.blocks[0].float()
    net.shift = net.shift.float()
    flat = FlatModel.from_nn_Module(net)
    vis = OptVis(flat, channel("blocks.0", 1))
    before = vis.render(Fourier(size=24, seed=0), steps=3, progress=False).images
    net.blocks[0].weight = nn.Parameter(net.blocks[0].weight.detach().flip(0))
    fresh = OptVis(FlatModel.from_nn_Module(net), channel("blocks.0", 1))
    after = vis.render(Fourier(size=24, seed=0), steps=3, progress=False).images
    assert torch.equal(after, fresh.render(Fourier(size=24, seed=0), steps=3, progress=False).images)
    assert not torch.equal(after, before)


class Counting(nn.Module):
    """Opaque; it counts and remembers in attributes, a dict and a list, and has a sparse buffer."""

    def __init__(self):
        super().__init__()
        self.calls, self.sizes, self.shapes, self.last = 0, {}, [], None
        self.register_buffer("graph", torch.eye(4, dtype=torch.float64).to_sparse())

    def forward(self, x):
        self.calls += 1
        self.sizes[self.calls] = x.shape
        self.shapes.append(x.shape)
        self.last = x.detach()
        return x if float(x.sum()) > 1e9 else (self.graph @ x.T).T


def test_what_the_network_and_hooks_keep_in_a_run_of_the_users_is_no_change():
    module = nn.Sequential(nn.Linear(4, 4), Counting(), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    module[0].register_forward_hook(lambda layer, inputs, output: setattr(layer, "activation", output.detach()))
    flat = FlatModel.from_nn_Module(module)
    view, program, x = flat.with_rules(GUIDED), flat.program, torch.randn(1, 4, dtype=torch.float64)
    for _ in range(2):
        wanted = module(x)
        assert torch.equal(flat(x), wanted)
        assert torch.equal(view(x), wanted)
    assert flat.program is program
