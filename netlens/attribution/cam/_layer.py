"""The layer that class activation maps read by default."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.layers import Add, Concatenate, Mean, Multiply
from netlens.flat.operations import Trait, is_kind, operation_of
from netlens.flat.running import Step

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_SAME_PLACE = Trait.RECTIFIER | Trait.NORM | Trait.KEEPS


def cam_layer(flat: FlatModel) -> str:
    """The layer that class activation maps read by default: the adapter's choice, else the last maps of the network.

    The search starts at the last convolution over positions (not over pooled features). It follows the normalization,
    rectifier, gate, sum or concatenation behind that convolution, and ends before a layer pools or flattens the maps.

    Raises:
        NotApplicable: The network has no 2-d convolution, and no adapter names a layer.
    """
    if flat.adapter.cam_layer is not None:
        return flat.key(flat.adapter.cam_layer)
    steps = _leading_to(flat, flat.program.outputs[0])
    pooled = _pooled(steps)
    convolutions = [step.key for step in steps if is_kind(step.layer, _CONVOLUTIONS) and step.key not in pooled]
    if not convolutions:
        raise NotApplicable(
            f"{flat.name} has no 2-d convolution, so no layer is the obvious one for a class activation map; "
            "name one with layer=..., or give an adapter with cam_layer."
        )
    key = convolutions[-1]
    for step in steps:
        if key in step.reads and _keeps_places(step.layer):
            key = step.key
    return key


def _keeps_places(layer: nn.Module) -> bool:
    return operation_of(layer).has(_SAME_PLACE) or is_kind(layer, (Add, Concatenate, Multiply))


def _leading_to(flat: FlatModel, output: str) -> list[Step]:
    """The steps that an output depends on. The first output has the class scores; others may be auxiliary."""
    needed, steps = {output}, []
    for step in reversed(flat.program.steps):
        if step.key in needed:
            needed.update(step.reads)
            steps.append(step)
    return steps[::-1]


def _pooled(steps: Sequence[Step]) -> set[str]:
    """The keys of values with one position for the whole image, such as the gates of squeeze-and-excitation."""
    pooled: set[str] = set()
    for step in steps:
        if pools_all(step.layer) or (step.reads and pooled.issuperset(step.reads)):
            pooled.add(step.key)
    return pooled


def pools_all(layer: nn.Module) -> bool:
    """Whether a layer reduces each map (N, C, h, w) to one position."""
    if isinstance(layer, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
        return layer.output_size in (1, (1, 1), [1, 1])
    if not isinstance(layer, Mean):
        return False
    dims = layer.kwargs.get("dim", layer.args[1] if len(layer.args) > 1 else None)
    return isinstance(dims, (tuple, list)) and {dim % 4 for dim in dims} == {2, 3}
