"""Wiring: the channels from which a channel is computed, and the channels that are computed from it, by weight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netlens.flat import FlatModel
from netlens.flat.operations import Reach, Trait, innermost, operation_of
from netlens.flat.running import Step

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MATRICES = (*_CONVOLUTIONS, nn.Linear)
_FURTHEST = 64  # steps between a channel and the weights that make or read it


@dataclass(frozen=True)
class Wire:
    """A weight between two channels.

    Args:
        layer: The layer of the other channel.
        channel: Its index.
        weight: The norm of the kernel between the channels, with the sign of the kernel's sum. Batch norms that
            lie between the weights and the channel are part of it.
    """

    layer: str
    channel: int
    weight: float


def incoming(flat: FlatModel, shapes: Mapping[str, tuple[int, ...]], key: str, channel: int) -> list[Wire]:
    """The channels that a channel is computed from, the strongest first.

    Args:
        flat: The network.
        shapes: The shape of each layer's activation.
        key: The layer of the channel.
        channel: The index of the channel.

    Returns:
        The wires; none if the layer is no sum over weighted channels, such as attention.
    """
    steps = {step.key: step for step in flat.program.steps}
    wires: list[Wire] = []
    waiting, visited = [(key, 1.0)], set()
    for _ in range(_FURTHEST):
        if not waiting:
            break
        at, scale = waiting.pop()
        step = steps.get(at)
        if step is None or at in visited:
            continue
        visited.add(at)
        layer = innermost(step.layer)
        if isinstance(layer, _MATRICES):
            first, kernels = _kernels_into(layer, channel)
            wires += [Wire(step.reads[0], first + i, scale * one) for i, one in enumerate(_strengths(kernels))]
        else:
            factor = scale * _factor(layer, channel)
            waiting += [(source, factor) for source in _same_channels(step, shapes)]
    return sorted(wires, key=lambda wire: -abs(wire.weight))


def outgoing(flat: FlatModel, shapes: Mapping[str, tuple[int, ...]], key: str, channel: int) -> list[Wire]:
    """The channels that are computed from a channel, the strongest first; see `incoming`."""
    wires: list[Wire] = []
    scales = {key: 1.0}
    count = 0
    for step in flat.program.steps:
        if count == _FURTHEST:
            break
        for source in step.reads:
            if source not in scales:
                continue
            count += 1
            layer = innermost(step.layer)
            if isinstance(layer, _MATRICES):
                for i, one in _strengths_out_of(layer, channel):
                    wires.append(Wire(step.key, i, scales[source] * one))
            elif source in _same_channels(step, shapes) and step.key not in scales:
                scales[step.key] = scales[source] * _factor(layer, channel)
    return sorted(wires, key=lambda wire: -abs(wire.weight))


def _same_channels(step: Step, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The values that a step reads, if channel i of its own value is computed from channel i of each of them."""
    layer, mine = innermost(step.layer), shapes.get(step.key, ())
    if step.hidden or len(mine) < 2 or any(parameter.ndim > 1 for parameter in layer.parameters()):
        return []
    operation = operation_of(step.layer)
    alike = (
        bool(operation.traits & (Trait.ELEMENTWISE | Trait.PER_CHANNEL | Trait.MEETS))
        or operation.reach is Reach.WINDOW
    )
    sources = []
    for source in step.reads:
        theirs = shapes.get(source, ())
        pooled = len(theirs) == 4 and all(side == 1 for side in mine[2:])  # also a flattened map of one position
        if len(theirs) > 1 and theirs[1] == mine[1] and (alike or pooled):
            sources.append(source)
    return sources


def _kernels_into(layer: nn.Module, channel: int) -> tuple[int, Tensor]:
    """The first channel that an output channel reads, and its kernel for each channel that it reads."""
    weight = _weight(layer)
    groups = getattr(layer, "groups", 1)
    return channel // (len(weight) // groups) * weight.shape[1], weight[channel]


def _strengths_out_of(layer: nn.Module, channel: int) -> Iterator[tuple[int, float]]:
    """The output channels that read a channel, each with the strength of the kernel between them."""
    weight = _weight(layer)
    per_group, group_size = len(weight) // getattr(layer, "groups", 1), weight.shape[1]
    group, index = divmod(channel, group_size)
    rows = range(group * per_group, min((group + 1) * per_group, len(weight)))
    return zip(rows, _strengths(weight[rows.start : rows.stop, index]), strict=True)


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight.detach()


def _strengths(kernels: Tensor) -> list[float]:
    flat = kernels.double().reshape(len(kernels), -1)
    strengths: list[float] = (flat.norm(dim=1) * torch.where(flat.sum(1) < 0, -1.0, 1.0)).tolist()
    return strengths


def _factor(layer: nn.Module, channel: int) -> float:
    """The factor by which a batch norm multiplies a channel; 1 for other layers."""
    if not isinstance(layer, nn.modules.batchnorm._BatchNorm) or layer.running_var is None:
        return 1.0
    gain = 1.0 if layer.weight is None else float(layer.weight[channel])
    return gain / math.sqrt(float(layer.running_var[channel]) + layer.eps)
