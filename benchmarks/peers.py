"""`make benchmark`: explanations by netlens, by its peers, and by the least work there is, in paired runs in turn.

Answers are compared before they are timed. `peer` and `least` say how many times as long as netlens they took;
`forwards` is what netlens took in plain forwards of the user's network; `once` is what flattening and the first call
cost beyond that, and `first` is `peer` with it, for a user with one image.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import least
from benchmarks.calibration import calibrated
from benchmarks.pairs import in_turn, ratio
from benchmarks.tables import write_between
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
)
from netlens.attribution.together import together
from netlens.evaluation import randomise_
from netlens.flat import FlatModel
from netlens.objectives import logit
from netlens.weights import build

PAGE, FILE = Path("docs/speed.md"), Path("docs/speed.json")
TARGET = 7
LAYERS = {"resnet50": "layer4", "vgg16": "features.30", "densenet121": "features.norm5", "mobilenet_v2": "features.18"}
# the same layers as a prepared network, whose blocks are dissolved, knows them
LEAVES = {**LAYERS, "resnet50": "layer4.2.relu", "mobilenet_v2": "features.18.2"}
VARIANTS = (GradCAM, GradCAMPlusPlus, XGradCAM, HiResCAM, LayerCAM)

Ours = Callable[[FlatModel, Tensor], Tensor]
Theirs = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """What is timed. tolerance: of the difference from the peer, relative to the largest value.

    exact: the two are compared in float64, because in float32 rounding grows on the way back.
    """

    name: str
    network: str
    ours: Ours
    peer: Theirs | None = None
    least: Theirs | None = None
    tolerance: float = 1e-3
    exact: bool = False
    batch: int = 1
    goal: str = ""


@dataclass(frozen=True)
class Row:
    """What was measured; times in seconds, ratios as the module says."""

    case: str
    network: str
    ours: float
    peer: float | None
    least: float | None
    forward: float
    once: float
    first: float | None
    difference: float | None
    goal: str

    def __str__(self) -> str:
        def shown(value: float | None, form: str) -> str:
            return "" if value is None else format(value, form)

        cells = (
            *(self.case, self.network, f"{self.ours * 1000:.0f}", shown(self.peer, ".2f"), shown(self.least, ".2f")),
            *(f"{self.forward:.2f}", f"{self.once * 1000:.0f}", shown(self.first, ".2f")),
            *(shown(self.difference, ".0e"), self.goal),
        )
        return f"| {' | '.join(cells)} |"


HEADER = (
    "| case | network | ms | peer | least | forwards | once, ms | first | difference | goal |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def of_captum(name: str, **options: object) -> Theirs:
    def run(network: nn.Module, x: Tensor) -> Tensor:
        from captum import attr

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(attr, name)(network).attribute(x.clone().requires_grad_(), target=TARGET, **options).detach()

    return run


def of_grad_cam(name: str, layer: str) -> Theirs:
    def run(network: nn.Module, x: Tensor) -> Tensor:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with getattr(pytorch_grad_cam, name)(network, [network.get_submodule(layer)]) as cam:
            return torch.as_tensor(cam(x, [ClassifierOutputTarget(TARGET)] * len(x)))[:, None]

    return run


def of_zennit(network: nn.Module, x: Tensor) -> Tensor:
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonPlus
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer

    canonizer = ResNetCanonizer() if type(network).__name__ == "ResNet" else VGGCanonizer()
    with Gradient(network, EpsilonPlus(canonizers=[canonizer])) as attributor:
        out = torch.zeros(len(x), 1000, dtype=x.dtype)
        with torch.no_grad():
            out[:, TARGET] = network(x)[:, TARGET]
        return attributor(x, out)[1].detach()


def values_of(method: object) -> Ours:
    return lambda flat, x: method(flat, x, logit(TARGET)).values  # type: ignore[operator]


def all_at_once(layer: str) -> Ours:
    methods = [variant(layer) for variant in VARIANTS]

    def run(flat: FlatModel, x: Tensor) -> Tensor:
        with together(methods, flat, x, logit(TARGET), "input") as shared:
            return torch.cat([method(flat, shared, logit(TARGET)).values for method in methods], 1)

    return run


def as_grad_cam_draws(values: Tensor, size: Sequence[int]) -> Tensor:
    """From 0 to 1, at the size of the image: what pytorch-grad-cam returns."""
    drawn = F.interpolate(values, tuple(size), mode="bilinear")
    low, high = (function(drawn, (1, 2, 3), keepdim=True) for function in (torch.amin, torch.amax))
    return (drawn - low) / (high - low)


def cases() -> list[Case]:
    found: list[Case] = []
    for name, layer in LAYERS.items():
        peer, least_cam = of_grad_cam("GradCAM", layer), lambda m, x, at=LEAVES[name]: least.grad_cam(m, x, at, TARGET)
        found.append(
            Case("Grad-CAM", name, values_of(GradCAM(layer)), peer, least_cam, goal="peer ≥ 3, forwards ≤ 1.1")
        )
    for name in LAYERS:
        goal = f"peer ≥ {1.4 if name == 'mobilenet_v2' else 1}, least ≥ 0.91"
        found.append(
            Case(
                *("saliency", name, values_of(Saliency()), of_captum("Saliency")),
                *(lambda m, x: least.saliency(m, x, TARGET),),
                exact=True,
                goal=goal,
            )
        )
        # the peer knows neither functional rectifiers (densenet121) nor ReLU6 (mobilenet_v2)
        theirs = of_captum("GuidedBackprop") if name in ("resnet50", "vgg16") else None
        if name != "densenet121":
            found.append(
                Case(
                    *("guided backprop", name, values_of(GuidedBackprop()), theirs),
                    *(lambda m, x: least.saliency(least.guided(m), x, TARGET),),
                    exact=True,
                    goal="peer ≥ 1, least ≥ 0.91",
                )
            )
    for name in LAYERS:
        peer = of_captum("IntegratedGradients", n_steps=50, internal_batch_size=10)
        goal = f"peer ≥ {1.6 if name == 'mobilenet_v2' else 1.3}"
        found.append(
            Case(
                *("integrated gradients, 50 steps", name, values_of(IntegratedGradients()), peer),
                *(lambda m, x: least.integrated_gradients(m, x, TARGET),),
                exact=True,
                goal=goal,
            )
        )
    floors = {"vgg16": 6, "mobilenet_v2": 2.5, "resnet50": 2, "densenet121": 2}
    for window, stride in ((32, 16), (16, 8)):
        for name, floor in floors.items():
            options = {"sliding_window_shapes": (3, window, window), "strides": (3, stride, stride)}
            found.append(
                Case(
                    *(f"occlusion {window}/{stride}", name, values_of(Occlusion(window, stride))),
                    of_captum("Occlusion", perturbations_per_eval=16, **options),
                    lambda m, x, w=window, s=stride: least.covered(m, x, TARGET, w, s),
                    goal=f"peer ≥ {floor}",
                )
            )
    for name in ("resnet50", "mobilenet_v2"):
        layer = LAYERS[name]
        ours = values_of(ScoreCAM(layer, convention="pytorch-grad-cam"))
        goal = f"peer ≥ {2 if name == 'mobilenet_v2' else 1.5}"
        found.append(Case("Score-CAM", name, ours, of_grad_cam("ScoreCAM", layer), goal=goal))
        found.append(
            Case(
                *("Ablation-CAM", name, values_of(AblationCAM(layer)), of_grad_cam("AblationCAM", layer)),
                *(lambda m, x, at=LEAVES[name]: least.ablation_cam(m, x, at, TARGET),),
                goal="peer ≥ 20",
            )
        )
    for name in ("vgg16", "resnet50"):
        ours = values_of(LRP("epsilon_plus"))
        found.append(Case("LRP EpsilonPlus", name, ours, of_zennit, exact=True, goal="peer ≥ 3"))
    for name, layer in LAYERS.items():
        found.append(
            Case(
                *("five CAMs at once", name, all_at_once(layer), None),
                *(lambda m, x, at=LEAVES[name]: least.grad_cam(m, x, at, TARGET),),
                goal="one ≤ 1.5",
            )
        )
    for name in ("resnet50", "mobilenet_v2"):
        layer = LAYERS[name]
        found += [
            Case(
                *("Grad-CAM, 64 images", name, values_of(GradCAM(layer)), None),
                *(lambda m, x, at=LEAVES[name]: least.grad_cam(m, x, at, TARGET),),
                batch=64,
                goal="least ≥ 0.9",
            ),
            Case(
                *("saliency, 64 images", name, values_of(Saliency()), None),
                *(lambda m, x: torch.cat([least.saliency(m, some, TARGET) for some in x.split(16)]),),
                batch=64,
                goal="least ≥ 0.9",
            ),
        ]
    return found


def difference(case: Case, ours: Tensor, theirs: Tensor) -> float:
    """The largest difference from the peer, relative to the largest value."""
    if "CAM" in case.name:
        ours = as_grad_cam_draws(ours, theirs.shape[2:])
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def measure(case: Case, rounds: int) -> Row:
    x = torch.randn(case.batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    network = calibrated(randomise_(build(case.network)), torch.randn(8, 3, 224, 224))
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 0.0  # which zennit leaves out
    start = time.perf_counter()
    flat = FlatModel.from_nn_Module(network)
    ours = case.ours(flat, x)
    first = time.perf_counter() - start
    gap = None
    works = {"ours": lambda: case.ours(flat, x), "forward": lambda: plain(network, x)}
    if case.peer is not None:
        peer = case.peer
        if case.exact:
            precise = copy.deepcopy(network).double()
            gap = difference(case, case.ours(FlatModel.from_nn_Module(precise), x.double()), peer(precise, x.double()))
        else:
            gap = difference(case, ours, peer(network, x))
        if not gap <= case.tolerance:
            raise ValueError(f"{case.name} on {case.network} differs from its peer by {gap:.1e} of the largest value.")
        works["peer"] = lambda: peer(network, x)
    if case.least is not None:
        bare, leanest = least.prepared(network), case.least
        works["least"] = lambda: leanest(bare, x)
    times = in_turn(works, rounds)
    once = max(0.0, first - statistics.median(times["ours"]))
    return Row(
        *(case.name, case.network, statistics.median(times["ours"])),
        ratio(times["peer"], times["ours"]) if case.peer else None,
        ratio(times["least"], times["ours"]) if case.least else None,
        ratio(times["ours"], times["forward"]),
        once,
        statistics.median(times["peer"]) / first if case.peer else None,
        gap,
        case.goal,
    )


def plain(network: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(x)


def versions() -> str:
    from importlib.metadata import version

    peers = ", ".join(f"{name} {version(name)}" for name in ("captum", "grad-cam", "zennit"))
    return f"torch {torch.__version__}, {peers}, {platform.machine()}, {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name and network contain this")
    options = parser.parse_args()
    print(f"{versions()}; {options.rounds} rounds\n\n{HEADER}", flush=True)
    rows: list[Row] = []
    for case in cases():
        if options.only in f"{case.name} {case.network}":
            gc.collect()
            rows.append(measure(case, options.rounds))
            print(rows[-1], flush=True)
    if not options.only:
        FILE.write_text(json.dumps({"versions": versions(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
        write_between(
            PAGE, "peers", "\n".join([f"{versions()}; {options.rounds} rounds.", "", HEADER, *map(str, rows)])
        )


if __name__ == "__main__":
    main()
