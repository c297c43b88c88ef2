"""Torchcam and pytorch-grad-cam as independent oracles, where they agree with the papers, in float64."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam import ablation_cam
from pytorch_grad_cam.utils import svd_on_activations
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from netlens import attribution
from netlens.errors import NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import logit
from tests.networks.narrow import NarrowMobileNet, NarrowResNet, NarrowVGG

torchcam_methods = pytest.importorskip("torchcam.methods", reason="torchcam needs Python 3.11")
CLASSES = 6
TARGETS = [4, 0]


# a network, a module in its middle, and the one with its last maps
NETWORKS = {
    "resnet": (lambda: NarrowResNet(CLASSES), "layer2", "layer4"),
    "mobilenet": (lambda: NarrowMobileNet(CLASSES), "features.2", "features.4"),
    "vgg": (lambda: NarrowVGG(CLASSES), "features.5", "features.10"),
}


@pytest.fixture(scope="module")
def built() -> dict[str, tuple[nn.Module, FlatModel]]:
    return {}


@pytest.fixture(params=NETWORKS)
def network(request, built) -> tuple[str, nn.Module, FlatModel]:
    if request.param not in built:
        module = randomized(NETWORKS[request.param][0]()).double()
        for part in module.modules():  # their hooks record what in-place rectifiers then overwrite
            if hasattr(part, "inplace"):
                part.inplace = False
        built[request.param] = module, FlatModel.from_nn_Module(module)
    return request.param, *built[request.param]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 40, 56, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class _Double:
    """Numpy in which float32 has 64 bits."""

    float32 = np.float64

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)


@pytest.fixture
def double(monkeypatch) -> Iterator[None]:
    """Pytorch-grad-cam rounds scores and projections to float32 on its way; here it may not."""
    for module in (svd_on_activations, ablation_cam):
        monkeypatch.setattr(module, "np", _Double())
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def same(mine: Tensor, theirs: Tensor | np.ndarray, tolerance: float = 1e-10) -> None:
    theirs = torch.as_tensor(theirs).reshape(mine.shape).to(mine)
    assert theirs.abs().max() > 0
    assert (mine - theirs).abs().max() <= tolerance * theirs.abs().max()


def by_torchcam(kind: str, module: nn.Module, layer: str, x: Tensor, **options) -> Tensor:
    """(N, h, w): torchcam's map before it is clipped and normalized."""
    with getattr(torchcam_methods, kind)(module, layer, input_shape=(3, 40, 56), **options) as extractor:
        getattr(extractor, "base_cam", extractor)._relu = False
        scores = module(x)
        return extractor(TARGETS, scores, normalized=False)[0]


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("kind", "tolerance"), [("GradCAM", 1e-12), ("LayerCAM", 1e-12), ("XGradCAM", 1e-8)])
def test_torchcam_with_gradients(network, x, kind, tolerance, depth):
    """Torchcam adds 1e-8 to the divisor of XGrad-CAM, which shows in channels that are hardly active."""
    name, module, flat = network
    layer = NETWORKS[name][depth]
    mine = getattr(attribution, kind)(layer, relu=False)(flat, x, logit(TARGETS))
    same(mine.values, by_torchcam(kind, module, layer, x), tolerance)


def test_torchcam_cam(network, x):
    name, module, flat = network
    if name == "vgg":
        with pytest.raises(NotApplicable, match=r"mean over space of 'features\.10'.* Use GradCAM"):
            attribution.CAM()(flat, x, logit(TARGETS))
        return
    theirs = by_torchcam("CAM", module, NETWORKS[name][2], x)
    same(attribution.CAM(relu=False)(flat, x, logit(TARGETS)).values, theirs)


def test_torchcam_finer_cam(network, x):
    name, module, flat = network
    layer = NETWORKS[name][2]
    mine = attribution.FinerCAM(method=attribution.LayerCAM(layer, relu=False))(flat, x, logit(TARGETS))
    same(mine.values, by_torchcam("FinerCAM", module, layer, x, base_method=torchcam_methods.LayerCAM))


@pytest.mark.parametrize(
    ("kind", "options", "their_options"),
    [("ScoreCAM", {}, {}), ("ISCAM", {"n_steps": 2, "cumulative": True}, {"num_samples": 2})],
)
def test_torchcam_with_masks(network, x, kind, options, their_options):
    name, module, flat = network
    layer = {"resnet": "layer1", "mobilenet": "features.2", "vgg": "features.10"}[name]  # few channels
    x = x[..., :24, :32]
    mine = getattr(attribution, kind)(layer, relu=False, convention="torchcam", **options)(flat, x, logit(TARGETS))
    same(mine.values, by_torchcam(kind, module, layer, x, **their_options))


def by_grad_cam(kind: str, module: nn.Module, layer: str, x: Tensor) -> np.ndarray:
    """(N, h, w): pytorch-grad-cam's map before it is clipped and normalized."""
    targets = [ClassifierOutputTarget(target) for target in TARGETS]
    at = module.get_submodule(layer)
    with getattr(pytorch_grad_cam, kind)(module, [at]) as cam:
        x = x.clone().requires_grad_(cam.compute_input_gradient)
        scores = sum(target(output) for target, output in zip(targets, cam.activations_and_grads(x), strict=True))
        if cam.detach:
            scores.backward()
        else:
            torch.autograd.grad(scores, x, create_graph=True)
        hooks = cam.activations_and_grads
        activation, gradient = hooks.activations[0], hooks.gradients[0]
        if cam.detach:
            activation, gradient = activation.numpy(), gradient.numpy()
        result = cam.get_cam_image(x.detach(), at, targets, activation, gradient, eigen_smooth=False)
    module.zero_grad()
    return result


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("kind", "tolerance"),
    # it adds 1e-7 to the divisor of XGrad-CAM; to that of Grad-CAM++, whose squared gradients are as small, 1e-6
    [
        ("HiResCAM", 1e-12),
        ("GradCAMElementWise", 1e-12),
        ("LayerCAM", 1e-12),
        ("XGradCAM", 1e-7),
        ("ShapleyCAM", 1e-10),
    ],
)
def test_pytorch_grad_cam_with_gradients(network, x, kind, tolerance, depth, double):
    name, module, flat = network
    layer = NETWORKS[name][depth]
    mine = getattr(attribution, kind)(layer, relu=False)(flat, x, logit(TARGETS))
    same(mine.values, by_grad_cam(kind, module, layer, x), tolerance)


@pytest.mark.parametrize("kind", ["EigenCAM", "EigenGradCAM"])
def test_pytorch_grad_cam_with_singular_vectors(network, x, kind, double):
    name, module, flat = network
    layer = NETWORKS[name][1]
    mine = getattr(attribution, kind)(layer, relu=False, centered=True)(flat, x, logit(TARGETS)).values
    theirs = torch.as_tensor(by_grad_cam(kind, module, layer, x))[:, None]
    signs = (mine * theirs).sum((1, 2, 3), keepdim=True).sign()  # theirs is left to chance
    same(mine, signs * theirs, 1e-9)


@pytest.mark.parametrize("kind", ["ScoreCAM", "AblationCAM"])
def test_pytorch_grad_cam_with_perturbations(network, x, kind, double):
    name, module, flat = network
    # it ablates by zero, as the paper does, only maps whose minimum is zero
    layer = {"resnet": "layer1", "mobilenet": "features.0", "vgg": "features.10"}[name]
    options = {"convention": "pytorch-grad-cam"} if kind == "ScoreCAM" else {}
    mine = getattr(attribution, kind)(layer, relu=False, **options)(flat, x, logit(TARGETS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(mine.values, by_grad_cam(kind, module, layer, x), 1e-9)


def test_pytorch_grad_cam_full_grad(network, x):
    """To the float32 in which it resizes; on rectifiers without the bias that ReLU6 has where it saturates."""
    module = copy.deepcopy(network[1])
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.ReLU6):
            module.get_submodule(name.rpartition(".")[0])[-1] = nn.ReLU()
    with torch.no_grad():  # it adds 1e-7 to divisors, as if gradients were large
        list(module.parameters())[-2].mul_(1e6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytorch_grad_cam.FullGrad(module, []) as cam:
            theirs = torch.as_tensor(cam(x, [ClassifierOutputTarget(target) for target in TARGETS]))[:, None]
    mine = attribution.FullGrad()(FlatModel.from_nn_Module(module), x, logit(TARGETS)).values
    low, high = mine.amin((2, 3), keepdim=True), mine.amax((2, 3), keepdim=True)
    assert ((mine - low) / (high - low) - theirs).abs().max() < 2e-5
