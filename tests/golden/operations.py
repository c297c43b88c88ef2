"""What netlens knows of 120 module types and 200 functions, asked of each as it stands in a small network.

`python -m tests.golden.operations` writes it to `operations.json`, which is right only where a change is meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from netlens.attribution._sample_rules import (
    Rows,
    over_batch,
    state_after,
)
from netlens.attribution.attention import _channels as channels
from netlens.attribution.attention import _maps as maps
from netlens.attribution.cam import _head as head
from netlens.attribution.cam import _layer as cam_layer
from netlens.fast.regions._local import (
    Layouts,
)
from netlens.flat import FlatModel
from netlens.flat.layers import Constant, Wrapper
from netlens.flat.operations import (
    RECTIFIERS,
    Trait,
    exact_operation_of,
    has_known_forward,
    innermost,
    is_foreign,
    is_kind,
    is_linear,
    is_product,
    is_view,
    name_of,
    operation_of,
)
from netlens.flat.receptive import receptive_fields
from netlens.flat.running import Step, is_misread
from netlens.flat.tracing import _canonical as canonical
from netlens.rules import (
    rescale,
)
from netlens.rules._dependence import (
    has_indices,
    is_discrete,
    is_stepwise,
)
from netlens.rules.excitation import Excitation
from netlens.rules.redirected import MORTAL, live_range
from netlens.rules.relevance_layers import role_of

SOURCES = Path(__file__).parent / "operations.txt"
FILE = SOURCES.with_suffix(".json")
SHAPES = {"maps": (1, 4, 8, 8), "rows": (1, 6, 4), "sequences": (1, 4, 8), "volumes": (1, 4, 4, 4, 4)}


class _Module(nn.Module):
    """A module behind a convolution, which reads as many values as it asks for."""

    def __init__(self, source: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        kind = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[len(shape)]
        self.first = kind(shape[1], shape[1], 3, padding=1)
        self.operation = eval(source, {"ops": torchvision.ops, "nn": nn})

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        if isinstance(self.operation, nn.Embedding):
            return self.operation(x.argmax(2))
        if isinstance(self.operation, nn.MultiheadAttention):
            return self.operation(x, x, x)[0]
        two = (nn.Bilinear, nn.CosineSimilarity, nn.PairwiseDistance, nn.TransformerDecoderLayer)
        return self.operation(*(x,) * (1 + isinstance(self.operation, two)))


class _Calls(nn.Module):
    """An expression of two convolutions' maps, x and y."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.p, self.q = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
        self.w, self.b, self.k = (nn.Parameter(torch.randn(*s)) for s in ((3, 8), (3, 8, 8), (4, 4, 1, 1)))
        self.register_buffer("g", torch.rand(1, 5, 5, 2))
        self.register_buffer("i", torch.tensor([0, 2]))
        self.register_buffer("j", torch.zeros(1, 1, 8, 8, dtype=torch.long))
        self.register_buffer("s", torch.tensor([0.0, 1.0]))
        scope = {"torch": torch, "F": F, "torchvision": torchvision}
        self.function = eval(f"lambda self, x, y: {source}", scope)

    def forward(self, image: Tensor) -> Any:
        return self.function(self, self.first(image), self.second(image))


def sources() -> Iterator[str]:
    """The code of each operation; that of a module begins with the kind of value that it reads."""
    yield from (line for line in SOURCES.read_text().splitlines() if not line.startswith("#"))


def known_of(source: str) -> dict[str, dict[str, Any]]:
    """The answers for each layer that an operation becomes, by its key; those that are None or False are left out."""
    torch.manual_seed(0)
    kind, _, code = source.partition(": ")
    shape = SHAPES.get(kind, SHAPES["maps"])
    network = _Module(code, shape) if kind in SHAPES else _Calls(source)
    flat = FlatModel.from_nn_Module(network.eval())
    with torch.no_grad():
        values = flat.run(
            {flat.inputs[0]: torch.randn(shape)}, [*flat.inputs, *(step.key for step in flat.program.steps)]
        )
    shapes = {key: getattr(value, "shape", torch.Size()) for key, value in values.items()}
    fields = receptive_fields(flat.program)
    ready: set[str] = {*flat.inputs}
    answers = {}
    for step in flat.program.steps:
        if step.key not in ("first", "second") and not step.hidden and not isinstance(step.layer, Constant):
            answers[step.key] = {
                name: answer
                for name, answer in _answers(step, ready, shapes, str(fields.get(step.key))).items()
                if answer not in (False, None)
            }
        if not step.hidden and not isinstance(step.layer, Constant):
            ready.add(step.key)
    return answers


def _answers(step: Step, ready: set[str], shapes: dict[str, Any], field: str) -> dict[str, Any]:
    layer, inner = step.layer, step.layer
    wrappers = []
    while isinstance(inner, Wrapper):
        wrappers.append(type(inner).__name__)
        inner = inner.inner
    active = [key in ready for key in step.reads]
    return {
        "type": type(inner).__name__,
        "function": name_of(inner) or None,
        "wrapped": wrappers or None,
        "view": is_view(inner),
        "rectifier": is_kind(layer, RECTIFIERS),
        "field": field,
        "local": _local(step, ready, shapes, last=False),
        "local, channels last": _local(step, ready, shapes, last=True),
        "linear": is_linear(layer),
        "product": is_product(layer),
        "discrete": is_discrete(layer),
        "level": is_stepwise(layer),
        "indices": has_indices(layer),
        "role": role_of(layer).name,
        "near": _near(inner),
        "rescale": _name(rescale._propagation(step, ready, set())),
        "excitation": repr(Excitation().sums(layer, active)) if any(active) else None,
        "live": list(map(str, live_range(layer))) if is_kind(layer, MORTAL) else None,
        "pools all": cam_layer.pools_all(layer),
        "linear head": head._is_linear(layer),
        "unchanged in head": operation_of(layer).has(Trait.KEEPS),
        "homogeneous": operation_of(layer).has(Trait.HOMOGENEOUS),
        "passes attention": maps._passes(layer),
        "softmax": maps._is_softmax(layer),
        "moves channels": channels._moves(layer),
        "by sample": _by_sample(layer),
        "over the batch": over_batch(layer),
        "of a formula": _Joins.joins(step),
        "ends a formula": canonical.may_end(layer),
        "foreign": is_foreign(layer),
        "misread": is_misread(layer),
        "gives its own": exact_operation_of(layer).has(Trait.FRESH),
        "overwrites": _overwrites(layer),
    }


_Joins = canonical.Graph((), (), ())


def _local(step: Step, ready: set[str], shapes: dict[str, Any], last: bool) -> str | None:
    """How a step would run on patches, were the maps that it reads with their channels first or last."""
    layouts = Layouts()
    layouts.channels_last = set(step.reads) if last else set()
    if not layouts.local(step, ready.intersection(step.reads), shapes):
        return None
    form = layouts.forms[step.key]
    return "turned" if form.moves_channels else str(form.sliding) if form.sliding else "alike"


def _near(layer: nn.Module) -> str | None:
    curve = operation_of(layer).curve
    return None if curve is None else curve.name


def _by_sample(layer: nn.Module) -> bool:
    """Whether the row of a layer says that samples stay apart. A flatten has a rule."""
    inner = innermost(layer)
    if isinstance(inner, nn.Flatten):
        return inner.start_dim > 0 and isinstance(state_after(inner, [Rows(4)]), Rows)
    return operation_of(layer).has(Trait.BY_SAMPLE) and has_known_forward(layer)


def _overwrites(layer: nn.Module) -> str | bool:
    row = exact_operation_of(layer)
    return "with gradients" if row.has(Trait.INVERTIBLE) else row.in_place is not None


def _name(function: Any) -> str | None:
    function = function.func if isinstance(function, partial) else function
    return None if function is None else function.__qualname__


if __name__ == "__main__":
    lines = [f"{json.dumps(source)}: {json.dumps(known_of(source))}" for source in sources()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
