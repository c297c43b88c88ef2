"""The cases of `make benchmark`: an explanation by netlens, by a peer, and by the least possible work."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import least
from netlens.attribution import (
    LRP,
    AblationCAM,
    GradCAM,
    GradCAMPlusPlus,
    GuidedBackprop,
    HiResCAM,
    IntegratedGradients,
    LayerCAM,
    Occlusion,
    Saliency,
    ScoreCAM,
    XGradCAM,
    together,
)
from netlens.flat import FlatModel
from netlens.objectives import logit

TARGET = 7
DRAWN = 224  # the side of drawn maps, in pixels
# the explained layers; in densenet121 not the last one, because the next layer overwrites its output, so that the peer
# would read wrong values
LAYERS = {
    "resnet50": "layer4",
    "vgg16": "features.30",
    "densenet121": "features.transition3.pool",
    "mobilenet_v2": "features.18",
}
# the names of the same layers in a prepared network, which has no blocks
LEAVES = {**LAYERS, "resnet50": "layer4.2.relu", "mobilenet_v2": "features.18.2"}
VARIANTS = (GradCAM, GradCAMPlusPlus, XGradCAM, HiResCAM, LayerCAM)

Ours = Callable[[FlatModel, Tensor], Tensor]
Theirs = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """One timing.

    Args:
        name: The name of the case.
        network: The name of the network.
        ours: The explanation by netlens.
        peer: The explanation by a peer; None if no peer has it.
        least: The least work; None if it is not written.
        tolerance: The largest allowed difference from the peer and the least work, relative to the largest value.
        exact: Whether results are compared in float64, because rounding grows in the backward run in float32.
        drawn: Whether the peer draws its maps (resized to the image, scaled to [0, 1]), so that drawn maps are
            compared.
        scores: Whether the values are decreases of a score, so that differences are relative to the range of scores.
        batch: The number of images.
        goal: The goals of the ratios, such as "peer ≥ 3".
    """

    name: str
    network: str
    ours: Ours
    peer: Theirs | None = None
    least: Theirs | None = None
    tolerance: float = 1e-3
    exact: bool = False
    drawn: bool = False
    scores: bool = False
    batch: int = 1
    goal: str = ""

    def difference(self, ours: Tensor, peer: Tensor, scores: Tensor) -> float:
        """The largest difference, as a share of the largest value or of the range of the scores."""
        if self.drawn and peer.shape[2:] == ours.shape[2:]:  # `peer` is the least work, which does not draw maps
            peer = as_grad_cam_draws(peer, (DRAWN, DRAWN))
        if self.drawn:
            ours = as_grad_cam_draws(ours, peer.shape[2:])
        ours = ours[:, : peer.shape[1]]  # netlens may give several maps; the peer gives the first one only
        scale = scores.max() - scores.min() if self.scores else peer.abs().max()
        return ((ours - peer).abs().max() / scale).item()


def of_captum(name: str, **options: object) -> Theirs:
    def run(network: nn.Module, x: Tensor) -> Tensor:
        from captum import attr

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method = getattr(attr, name)(network)
            values: Tensor = method.attribute(x.clone().requires_grad_(), target=TARGET, **options)
            return values.detach()

    return run


def of_grad_cam(name: str, layer: str, **options: object) -> Theirs:
    def run(network: nn.Module, x: Tensor) -> Tensor:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with getattr(pytorch_grad_cam, name)(network, [network.get_submodule(layer)], **options) as cam:
            return torch.as_tensor(cam(x, [ClassifierOutputTarget(TARGET)] * len(x)))[:, None]

    return run


def of_torchcam(layer: str) -> Theirs:
    def run(network: nn.Module, x: Tensor) -> Tensor:
        import torchcam.methods

        with torchcam.methods.GradCAM(network, layer, input_shape=tuple(x.shape[1:])) as extractor:
            maps: Tensor = extractor(TARGET, network(x))[0][:, None].detach()
            return maps

    return run


def of_zennit(network: nn.Module, x: Tensor) -> Tensor:
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonPlus
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer

    canonizer = ResNetCanonizer() if type(network).__name__ == "ResNet" else VGGCanonizer()

    def start(scores: Tensor) -> Tensor:
        """The relevance at the output: the score of the target."""
        return scores * F.one_hot(torch.tensor(TARGET), scores.shape[1])

    with Gradient(network, EpsilonPlus(canonizers=[canonizer])) as attributor:
        relevance: Tensor = attributor(x, start)[1].detach()
        return relevance


def values_of(method: object) -> Ours:
    return lambda flat, x: method(flat, x, logit(TARGET)).values  # type: ignore[operator]


def all_at_once(layer: str) -> Ours:
    methods, objective = [variant(layer) for variant in VARIANTS], logit(TARGET)

    def run(flat: FlatModel, x: Tensor) -> Tensor:
        with together(methods, flat, x, objective, "input") as shared:
            return torch.cat([method(flat, shared, objective).values for method in methods], 1)

    return run


def as_grad_cam_draws(values: Tensor, size: Sequence[int]) -> Tensor:
    """Maps from 0 to 1 at the size of the image, as pytorch-grad-cam returns them."""
    drawn = F.interpolate(values, tuple(size), mode="bilinear")
    low, high = (function(drawn, (1, 2, 3), keepdim=True) for function in (torch.amin, torch.amax))
    return (drawn - low) / (high - low)


def one_of_them(layer: str) -> Theirs:
    """Grad-CAM alone, by netlens."""
    flat = cache(FlatModel.from_nn_Module)
    return lambda network, x: GradCAM(layer)(flat(network), x, logit(TARGET)).values


def cases() -> Iterator[Case]:
    """All cases, the fast ones first."""
    yield from gradients()
    yield from together_and_batches()
    for name in ("vgg16", "resnet50"):
        ours = values_of(LRP("epsilon_plus"))
        yield Case("LRP EpsilonPlus", name, ours, of_zennit, exact=True, goal="peer ≥ 3")
    yield from perturbations()


def gradients() -> Iterator[Case]:
    for name, layer in LAYERS.items():
        yield Case(
            *("Grad-CAM", name, values_of(GradCAM(layer)), of_grad_cam("GradCAM", layer)),
            partial(least.grad_cam, layer=LEAVES[name], target=TARGET),
            drawn=True,
            exact=True,
            goal="peer ≥ 3, forwards ≤ 1.1",
        )
    for name in ("resnet50", "mobilenet_v2"):
        layer = LAYERS[name]
        yield Case("Grad-CAM, torchcam", name, values_of(GradCAM(layer)), of_torchcam(layer), drawn=True, exact=True)
    for name in LAYERS:
        small = name == "mobilenet_v2"
        yield Case(
            *("saliency", name, values_of(Saliency()), of_captum("Saliency")),
            lambda m, x: least.saliency(m, x, TARGET),
            exact=True,
            goal=f"peer ≥ {1.4 if small else 1}, least ≥ 0.91",
        )
        # the peer knows neither functional rectifiers (densenet121) nor ReLU6 (mobilenet_v2), and the least work is
        # written for modules
        if name != "densenet121":
            yield Case(
                *("guided backprop", name, values_of(GuidedBackprop())),
                None if small else of_captum("GuidedBackprop"),
                lambda m, x: least.gradient(least.guided(m), x, TARGET),
                exact=True,
                goal="least ≥ 0.91" if small else "peer ≥ 1, least ≥ 0.91",
            )
    for name in LAYERS:
        yield Case(
            *("integrated gradients, 50 steps", name, values_of(IntegratedGradients())),
            of_captum("IntegratedGradients", n_steps=50, internal_batch_size=10),
            lambda m, x: least.integrated_gradients(m, x, TARGET),
            exact=True,
            goal=f"peer ≥ {1.6 if name == 'mobilenet_v2' else 1.3}",
        )


def perturbations() -> Iterator[Case]:
    for name in ("resnet50", "mobilenet_v2"):
        layer = LAYERS[name]
        yield Case(
            *("Score-CAM", name, values_of(ScoreCAM(layer, convention="pytorch-grad-cam"))),
            of_grad_cam("ScoreCAM", layer),
            drawn=True,
            goal=f"peer ≥ {2 if name == 'mobilenet_v2' else 1.5}",
        )
        yield Case(
            *("Ablation-CAM", name, values_of(AblationCAM(layer)), of_grad_cam("AblationCAM", layer)),
            partial(least.ablation_cam, layer=LEAVES[name], target=TARGET),
            drawn=True,
            goal="peer ≥ 20",
        )
    floors = {"mobilenet_v2": 2.5, "resnet50": 2, "densenet121": 2, "vgg16": 6}
    for window, stride in ((32, 16), (16, 8)):
        for name, floor in floors.items():
            options = {"sliding_window_shapes": (3, window, window), "strides": (3, stride, stride)}
            yield Case(
                *(f"occlusion {window}/{stride}", name, values_of(Occlusion(window, stride))),
                of_captum("Occlusion", perturbations_per_eval=16, **options),
                partial(least.covered, target=TARGET, window=window, stride=stride),
                tolerance=1e-5,
                scores=True,
                goal=f"peer ≥ {floor}, difference ≤ 1e-5",
            )


def in_sixteens(least_work: Theirs) -> Theirs:
    """The least work of a batch, sixteen samples at a time."""
    return lambda network, x: torch.cat([least_work(network, chunk) for chunk in x.split(16)])


def together_and_batches() -> Iterator[Case]:
    for name, layer in LAYERS.items():
        yield Case(
            *("five CAMs at once, beside one", name, all_at_once(layer), one_of_them(layer)),
            partial(least.grad_cam, layer=LEAVES[name], target=TARGET),
            exact=True,
            goal="peer ≥ 0.67",
        )
    for name in ("resnet50", "mobilenet_v2"):
        yield Case(
            *("Grad-CAM, 64 images", name, values_of(GradCAM(LAYERS[name])), None),
            in_sixteens(partial(least.grad_cam, layer=LEAVES[name], target=TARGET)),
            exact=True,
            batch=64,
            goal="least ≥ 0.9",
        )
        yield Case(
            *("saliency, 64 images", name, values_of(Saliency()), None),
            in_sixteens(partial(least.saliency, target=TARGET)),
            exact=True,
            batch=64,
            goal="least ≥ 0.9",
        )
