"""Values in float64 against captum on torchvision's families, each method where captum is right."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import captum.attr as captum
import pytest
import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import Tensor, nn

from netlens.attribution import (
    Deconvolution,
    GradCAM,
    GuidedBackprop,
    GuidedGradCAM,
    InputGradient,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
    cam_layer,
)
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import logit, neuron
from tests.networks.local import efficientnet
from tests.networks.narrow import NarrowMobileNet, NarrowResNet, NarrowVGG


@dataclass(frozen=True)
class Kind:
    """How a network is made, the size of its input, and a module with maps in its middle that is called once."""

    make: Callable[[], nn.Module]
    size: int
    middle: str


NETWORKS = {
    "resnet": Kind(lambda: NarrowResNet(10, blocks=(2, 2, 2, 2)), 40, "layer2"),
    "vgg": Kind(lambda: NarrowVGG(10), 32, "features.8"),
    "densenet": Kind(lambda: tv.DenseNet(8, (2, 3, 2), 16, num_classes=10), 32, "features.transition2.conv"),
    "mobilenet": Kind(lambda: NarrowMobileNet(10), 40, "features.2"),
    "googlenet": Kind(
        lambda: tv.googlenet(num_classes=10, init_weights=False, aux_logits=False), 48, "inception4a.branch1"
    ),
    "squeezenet1_1": Kind(lambda: tv.squeezenet1_1(num_classes=10), 48, "features.7"),
    "efficientnet": Kind(efficientnet, 40, "features.2"),
    "vit": Kind(
        lambda: tv.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10), 32, "encoder.layers.encoder_layer_0"
    ),
}
WITH_FUNCTIONAL_RELU = ("densenet", "googlenet")
WITH_RELU_MODULES = ("resnet", "vgg", "squeezenet1_1")  # the only rectifiers that captum knows
WITH_MAPS = [name for name in NETWORKS if name != "vit"]  # captum has no Grad-CAM of tokens
TARGETS = [3, 0]


def without_inplace(network: nn.Module) -> nn.Module:
    """Captum's hooks record what in-place rectifiers then overwrite, so it is given the pure network."""
    for part in network.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    return network


@pytest.fixture(scope="module")
def built() -> dict[str, tuple[nn.Module, FlatModel, Tensor]]:
    return {}


@pytest.fixture(params=NETWORKS)
def named(request, built):
    name = request.param
    if name not in built:
        torch.manual_seed(0)
        network = without_inplace(randomized(NETWORKS[name].make())).double()
        size = NETWORKS[name].size
        x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        built[name] = network, FlatModel.from_nn_Module(network), x
    return name, *built[name]


@pytest.fixture
def double(monkeypatch):
    """Captum rounds to float32 on its way (weights of quadratures, averages of occlusion); here it may not."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def same(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-10 of the largest value."""
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 0
    assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max()


def test_saliency_and_input_x_gradient(named):
    _, network, flat, x = named
    same(Saliency()(flat, x, logit(TARGETS)).values, captum.Saliency(network).attribute(x.clone(), TARGETS))
    theirs = captum.InputXGradient(network).attribute(x.clone(), TARGETS)
    same(InputXGradient()(flat, x, logit(TARGETS)).values, theirs)


# the network makes no difference to the quadrature
@pytest.mark.parametrize(
    ("named", "quadrature"),
    [
        *((name, "gausslegendre") for name in NETWORKS),
        *(("vit", f"riemann_{rule}") for rule in ("left", "right", "middle", "trapezoid")),
    ],
    indirect=["named"],
)
def test_integrated_gradients(named, quadrature, double):
    _, network, flat, x = named
    baseline = torch.full_like(x[:1], 0.3)
    ours = IntegratedGradients(3, baselines=baseline, quadrature=quadrature)(flat, x, logit(TARGETS))
    theirs = captum.IntegratedGradients(network).attribute(x, baseline, TARGETS, n_steps=3, method=quadrature)
    # captum's weights of the trapezoid rule sum to (n - 1) / n; ours to 1
    same(ours.values, theirs * 3 / 2 if quadrature == "riemann_trapezoid" else theirs)


def test_integrated_gradients_at_a_layer(named, double):
    name, network, flat, x = named
    middle = NETWORKS[name].middle
    ours = IntegratedGradients(4)(flat, x, logit(TARGETS), wrt=middle)
    theirs = captum.LayerIntegratedGradients(network, network.get_submodule(middle))
    same(ours.values, theirs.attribute(x, 0 * x, TARGETS, n_steps=4))


def test_the_gradient_of_a_neuron(named):
    name, network, flat, x = named
    middle = NETWORKS[name].middle
    theirs = captum.NeuronGradient(network, network.get_submodule(middle))
    alive = flat(x, until=middle).amin(0)  # a rectified neuron that is off in a sample has no gradient there
    where = tuple(int(i) for i in (alive == alive[1:].max()).nonzero()[0])
    # the tokens of a 4 x 4 grid follow a class token
    objective = neuron(middle, where[1], *divmod(where[0] - 1, 4)) if name == "vit" else neuron(middle, *where)
    same(InputGradient()(flat, x, objective).values, theirs.attribute(x.clone(), where))


@pytest.mark.parametrize("named", WITH_MAPS, indirect=True)
def test_grad_cam(named):
    name, network, flat, x = named
    middle = NETWORKS[name].middle
    theirs = captum.LayerGradCam(network, network.get_submodule(middle))
    for relu in (True, False):
        ours = GradCAM(middle, relu=relu)(flat, x, logit(TARGETS))
        same(ours.values, theirs.attribute(x, TARGETS, relu_attributions=relu))


# the network makes no difference to the windows
@pytest.mark.parametrize("named", ["resnet", "squeezenet1_1", "vit"], indirect=True)
@pytest.mark.parametrize(("window", "stride"), [(17, 13), ((9, 21), (8, 19)), (16, 16)])
def test_occlusion(named, window, stride, double):
    name, network, flat, x = named
    x = x[..., :27] if name == "resnet" else x  # not square
    extents, strides = ((3, *(n if isinstance(n, tuple) else (n, n))) for n in (window, stride))
    theirs = captum.Occlusion(network).attribute(x, extents, strides, baselines=0.2, target=TARGETS)
    same(Occlusion(window, stride, baselines=0.2)(flat, x, logit(TARGETS)).values, theirs)


@pytest.mark.parametrize("named", WITH_RELU_MODULES, indirect=True)
def test_guided_backprop_and_deconvnet_on_module_rectifiers(named):
    name, network, flat, x = named
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guided = captum.GuidedBackprop(network).attribute(x.clone(), TARGETS)
        deconvolved = captum.Deconvolution(network).attribute(x.clone(), TARGETS)
        layer = network.get_submodule(NETWORKS[name].middle)
        guided_cam = captum.GuidedGradCam(network, layer).attribute(x.clone(), TARGETS, interpolate_mode="nearest")
    same(GuidedBackprop()(flat, x, logit(TARGETS)).values, guided)
    same(Deconvolution()(flat, x, logit(TARGETS)).values, deconvolved)
    ours = GuidedGradCAM(NETWORKS[name].middle, interpolation="nearest")(flat, x, logit(TARGETS))
    same(ours.values, guided_cam)


class _Guided(torch.autograd.Function):
    masked = True

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (x > 0)


class _Deconvolved(_Guided):
    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(min=0)


@pytest.mark.parametrize("named", WITH_FUNCTIONAL_RELU, indirect=True)
@pytest.mark.parametrize(("method", "rectifier"), [(GuidedBackprop, _Guided), (Deconvolution, _Deconvolved)])
def test_functional_rectifiers_follow_the_rule_too(named, method, rectifier, monkeypatch):
    _, network, flat, x = named
    plain = torch.autograd.grad(network(y := x.clone().requires_grad_())[range(2), TARGETS].sum(), y)[0]
    monkeypatch.setattr(F, "relu", lambda x, inplace=False: rectifier.apply(x))
    expected = torch.autograd.grad(network(y)[range(2), TARGETS].sum(), y)[0]
    same(method()(flat, x, logit(TARGETS)).values, expected)
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max()


@pytest.mark.parametrize("named", WITH_MAPS, indirect=True)
def test_guided_grad_cam_reads_the_default_layer(named):
    _, _, flat, x = named
    cam = GradCAM()(flat, x, logit(TARGETS))
    assert cam.provenance.layer == cam_layer(flat)
    expected = GuidedBackprop()(flat, x, logit(TARGETS)).values * F.interpolate(
        cam.values, x.shape[-2:], mode="bilinear"
    )
    same(GuidedGradCAM()(flat, x, logit(TARGETS)).values, expected)
