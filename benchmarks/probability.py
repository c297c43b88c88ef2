"""`python -m benchmarks.probability`: where the probability of excitation backprop ends, on torchvision's families.

Each network has random weights and explains a scene. A part of the probability ends at outputs above 0 that no input
excites, because only their bias is positive (such as the tokens of padding). Another part ends at constants, such as a
class token. The exit code is not 0 if any other layer loses probability. `--write` puts the table into docs/rules.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.tables import write_between
from netlens.attribution.engine import gradient_of
from netlens.evaluation import randomize_
from netlens.fast import folded
from netlens.flat import FlatModel, Rule, vjp
from netlens.flat.operations import Relevance
from netlens.flat.rules import Ruled
from netlens.flat.running import Step
from netlens.objectives import Objective, logit
from netlens.rules.excitation import Excitation
from netlens.rules.relevance_layers import role_of
from netlens.weights import build
from netlens.world.scene import scene

NETWORKS = {
    **dict.fromkeys(("resnet18", "vgg11", "densenet121", "googlenet", "mnasnet0_5", "mobilenet_v2"), 96),
    **dict.fromkeys(("mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "regnet_y_400mf"), 96),
    **dict.fromkeys(("shufflenet_v2_x0_5", "squeezenet1_1", "convnext_tiny"), 96),
    "inception_v3": 128,
    **dict.fromkeys(("alexnet", "vit_b_32", "swin_t", "swin_v2_t", "maxvit_t"), 224),
}
"""Networks of each family, and the size of their image."""

Look = Callable[[Step, nn.Module, Sequence[Tensor], Any, Any, float], None]
"""A function of (step, layer, inputs, output, relevance of the output, relevance that the layer loses)."""


def watched(flat: FlatModel, x: Tensor, objective: Objective, look: Look) -> Tensor:
    """The probabilities at the input. The backward run calls `look` for each layer."""
    ruled = flat.with_rules(Excitation()(flat))
    reached = flat.program.reached(flat.inputs)

    def step_of(step: Step) -> Step:
        ruled_layer = step.layer if isinstance(step.layer, Ruled) else None
        inner = step.layer if ruled_layer is None else ruled_layer.layer

        def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Any, relevance: Any) -> Any:
            propagated = (
                vjp(output, inputs, relevance)
                if ruled_layer is None
                else ruled_layer.rule.backward(layer, inputs, output, relevance)
            )
            received = sum(float(tensor.sum()) for tensor in pytree.tree_leaves(relevance) if tensor is not None)
            takers = zip(propagated, inputs, strict=True)
            passed_on = sum(
                float(tensor.sum()) for tensor, value in takers if tensor is not None and value.requires_grad
            )
            look(step, layer, inputs, output, relevance, received - passed_on)
            return propagated

        rule = Rule(backward, graph=ruled_layer is None or ruled_layer.rule.graph, several=True)
        return replace(step, layer=Ruled(inner, rule)) if step.key in reached and not step.hidden else step

    view = flat.edited(replace(ruled.program, steps=tuple(map(step_of, ruled.program.steps))))
    return gradient_of(view, x, objective)[1]


@dataclass(frozen=True)
class Row:
    """The parts of the probability of one network: at the image, at outputs that nothing excites, at constants, ..."""

    network: str
    size: int
    total: float
    unexcited: float
    constants: float
    elsewhere: float

    @property
    def passed(self) -> bool:
        return abs(self.elsewhere) < 1e-9 and abs(self.total + self.unexcited + self.constants - 1) < 1e-9

    def __str__(self) -> str:
        shares = (self.total, self.unexcited, self.constants)
        return f"| {self.network} | {self.size} | {' | '.join(f'{abs(share):.3f}' for share in shares)} |"


def row(name: str, size: int) -> Row:
    """One network with random weights, in float64."""
    torch.manual_seed(0)
    flat = folded(FlatModel.from_nn_Module(randomize_(build(name)).double()))
    pixels = torch.from_numpy(scene(0, size).image.copy()).permute(2, 0, 1)[None].double()
    lost_by_cause: dict[str, float] = defaultdict(float)

    def look(step: Step, layer: nn.Module, inputs: Any, output: Any, relevance: Any, lost: float) -> None:
        role = role_of(layer)
        cause = "unexcited" if role is Relevance.WEIGHTS else "constants" if role is Relevance.ARRANGES else "others"
        lost_by_cause[cause] += lost

    values = watched(flat, (pixels / 255 - 0.45) / 0.225, logit(3), look)
    assert values.min() >= 0
    return Row(
        name, size, float(values.sum()), lost_by_cause["unexcited"], lost_by_cause["constants"], lost_by_cause["others"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), help="names of torchvision's networks")
    parser.add_argument("--write", action="store_true", help="put the table into docs/rules.md")
    options = parser.parse_args(arguments)
    rows = []
    for name in options.networks:
        rows.append(row(name, NETWORKS.get(name, 224)))
        print(rows[-1], flush=True)
    if options.write:
        head = (
            "| network | image | reaches it | ends where nothing excites | ends at constants |\n|---|---|---|---|---|\n"
        )
        write_between(Path("docs/rules.md"), "probability", head + "\n".join(map(str, rows)))
    return 0 if all(r.passed for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
