"""Folding: the scale and shift of a batch norm (in eval mode) become part of the layer before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.flat.layers import CONVOLUTIONS, TRANSPOSED
from netlens.flat.running import Program, Step, may_change, tapped_visit
from netlens.precision import widest


def folded(flat: FlatModel, keep: Collection[str] = ()) -> FlatModel:
    """Fold each batch norm into the convolution or linear layer before it, if no other layer reads that layer.

    The output is the same up to rounding. Each folded batch norm saves one pass over the activations. All keys remain:
    the key of the convolution now holds the output of the batch norm, and the batch norm becomes an `Identity`. Folded
    layers have new weights, computed from the current ones. All other layers share their weights. Hooks that edit
    activations also work on the folded model, and see the same values.

    Args:
        flat: The flat model.
        keep: The keys whose activations must stay the same.
    """
    visit = tapped_visit(flat) if may_change(flat) else None
    if visit is not None:
        keep = list(flat.layers) if visit.keys is None else {*keep, *visit.keys}
    layers = foldings(flat.program, keep)
    if not layers:
        return flat
    steps = tuple(replace(step, layer=layers[step.key]) if step.key in layers else step for step in flat.program.steps)
    view = flat.edited(replace(flat.program, steps=steps))
    if visit is not None:
        view.origin = flat.origin
    return view


def foldings(
    program: Program, keep: Collection[str] = (), memory_format: torch.memory_format = torch.preserve_format
) -> dict[str, nn.Module]:
    """The new layers of the folded program by key.

    Args:
        program: The program of a network.
        keep: The keys whose activations stay the same.
        memory_format: How the new weights of two-dimensional convolutions lie in memory.
    """
    layers = {step.key: step.layer for step in program.steps}
    replacements: dict[str, nn.Module] = {}
    for source, norm in _pairs(program):
        if source not in keep:
            replacements[source] = fold(layers[source], norm.layer, memory_format)  # type: ignore[arg-type]
            replacements[norm.key] = nn.Identity()
    return replacements


def foldable(program: Program) -> frozenset[str]:
    """The keys of the layers into which a batch norm can be folded."""
    return frozenset(source for source, _ in _pairs(program))


def _pairs(program: Program) -> Iterator[tuple[str, Step]]:
    """The key of each convolution or linear layer whose only reader is a batch norm, and the step of the batch norm."""
    readers = Counter(key for step in program.steps for key in step.reads) + Counter(program.outputs)
    layers = {step.key: step.layer for step in program.steps}
    for step in program.steps:
        source = step.reads[0] if len(step.reads) == 1 else ""
        if source in layers and readers[source] == 1 and _foldable(layers[source], step.layer):
            yield source, step


def _foldable(layer: Any, norm: nn.Module) -> bool:
    # a subclass may compute something else, and a hook may compute another weight
    plain = type(layer) in (*CONVOLUTIONS, nn.Linear) and not layer._forward_pre_hooks
    if not plain or not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return False
    return norm.num_features == (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def fold(layer: Any, norm: _BatchNorm, memory_format: torch.memory_format = torch.preserve_format) -> nn.Module:
    """A new layer with new weights that computes `norm(layer(x))` in eval mode, up to rounding.

    With the scale s and the shift t of the batch norm, the weight W becomes s W and the bias b becomes s b + t.

    Args:
        layer: A convolution or linear layer.
        norm: The batch norm after it.
        memory_format: How the new weight of a two-dimensional convolution lies in memory.
    """
    scale, shift = affine(norm)
    with torch.no_grad():
        # a copy in the wanted format, scaled in place, takes one pass over new memory less than a product and its copy
        new = copied(layer, memory_format)
        rows = scale.to(new.dtype)
        if isinstance(layer, TRANSPOSED):  # (in, out / groups, ...): the groups lie along the first dimension
            by_group = rows.view(layer.groups, 1, -1, *[1] * (new.ndim - 2))
            new = (new.unflatten(0, (layer.groups, -1)) * by_group).flatten(0, 1)
        else:
            new.mul_(rows.view(-1, *[1] * (new.ndim - 1)))
        bias = shift if layer.bias is None else shift + scale * layer.bias.to(scale)
    folded: nn.Module = rebuilt(layer, new, bias.to(new.dtype))
    return folded


def copied(layer: Any, memory_format: torch.memory_format) -> Tensor:
    """A copy of the weight of a layer; in `memory_format`, if the layer is a two-dimensional convolution."""
    weight: Tensor = layer.weight.detach()
    return weight.clone(memory_format=memory_format if type(layer) is nn.Conv2d else torch.preserve_format)


def affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The scale and shift of a batch norm in eval mode, (channels,) each, in the widest type of the device.

    scale = weight / sqrt(variance + eps), shift = bias - mean * scale
    """
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        scale = (norm.running_var.to(widest(norm.running_var.device)) + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.to(scale)
        shift = -norm.running_mean.to(scale) * scale
        return scale, shift if norm.bias is None else shift + norm.bias.to(scale)


def rebuilt(layer: Any, weight: Tensor, bias: Tensor | None) -> Any:
    """A layer in eval mode with the settings of `layer`, and with this weight and bias."""
    # not by its constructor, which draws random weights
    new: Any = object.__new__(_Rows if isinstance(layer, nn.Linear) else type(layer))
    new.__dict__.update(layer.__dict__)
    new.training = False
    parameters = {"weight": weight, "bias": bias}
    new._parameters = {
        name: None if value is None else nn.Parameter(value, requires_grad=False) for name, value in parameters.items()
    }
    return new


class _Rows(nn.Linear):
    """A linear layer for inputs (N, C) only. On (N, L, C), a batch norm after it would normalize the dimension L."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 2:
            raise NetLensError(
                f"a batch norm that was folded into {self} normalizes dimension 1 of {tuple(input.shape)}; "
                "this network cannot be folded: use the flat model itself."
            )
        return super().forward(input)
