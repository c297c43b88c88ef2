"""Folding: batch norm in eval mode is a scale and a shift, which the convolution or linear layer before it can do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netlens.errors import NetLensError
from netlens.flat.model import FlatModel
from netlens.flat.precision import widest
from netlens.flat.program import Program
from netlens.flat.step import Step
from netlens.flat.taps import may_change, tapped_visit

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def folded(flat: FlatModel, keep: Collection[str] = ()) -> FlatModel:
    """The network with every batch norm that alone reads a convolution or linear layer done by that layer.

    It computes the same to rounding, with one pass over the activations less for each batch norm. Keys stay: the
    convolution's now holds both, and the batch norm's an `Identity`. The weights of folded layers are made from the
    network's as they are now; all others stay shared. A batch norm that reads anything else stays as it is, and so do
    the activations at `keep`. Hooks that edit activations do so in the folded network, too, and see what they would.
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


def foldings(program: Program, keep: Collection[str] = ()) -> dict[str, nn.Module]:
    """The layers of the folded program that differ, by key; the activations at `keep` stay what they are."""
    makers = {step.key: step.layer for step in program.steps}
    layers: dict[str, nn.Module] = {}
    for source, norm in _pairs(program):
        if source not in keep:
            layers[source] = fold(makers[source], norm.layer)  # type: ignore[arg-type]
            layers[norm.key] = nn.Identity()
    return layers


def foldable(program: Program) -> frozenset[str]:
    """The keys of the layers that a batch norm can be folded into."""
    return frozenset(source for source, _ in _pairs(program))


def _pairs(program: Program) -> Iterator[tuple[str, Step]]:
    """The key of each convolution or linear layer that a batch norm alone reads, and the batch norm."""
    readers = Counter(key for step in program.steps for key in step.reads) + Counter(program.outputs)
    makers = {step.key: step.layer for step in program.steps}
    for step in program.steps:
        source = step.reads[0] if len(step.reads) == 1 else ""
        if source in makers and readers[source] == 1 and _foldable(makers[source], step.layer):
            yield source, step


def _foldable(layer: Any, norm: nn.Module) -> bool:
    # a subclass, or a hook that computes the weight, may do more than the weights say
    known = type(layer) in (*_CONVOLUTIONS, nn.Linear) and not layer._forward_pre_hooks
    if not known or not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return False
    return norm.num_features == (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def fold(layer: Any, norm: _BatchNorm) -> nn.Module:
    """A new layer that computes `norm(layer(x))` to rounding, in eval mode, on weights of its own."""
    scale, shift = affine(norm)
    weight: Tensor = layer.weight
    with torch.no_grad():
        rows = scale.to(weight.dtype)
        if isinstance(layer, _TRANSPOSED):  # (in, out / groups, ...): outputs lie in groups along the first dimension
            by_group = rows.view(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
            new = (weight.unflatten(0, (layer.groups, -1)) * by_group).flatten(0, 1)
        else:
            new = weight * rows.view(-1, *[1] * (weight.ndim - 1))
        bias = shift if layer.bias is None else shift + scale * layer.bias.to(scale)
    return rebuilt(layer, new, bias.to(weight.dtype))


def affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The scale and shift (channels,), in the widest numbers there are, of a batch norm in eval mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        scale = (norm.running_var.to(widest(norm.running_var.device)) + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.to(scale)
        shift = -norm.running_mean.to(scale) * scale
        return scale, shift if norm.bias is None else shift + norm.bias.to(scale)


def rebuilt(layer: Any, weight: Tensor, bias: Tensor | None) -> Any:
    """A layer of the same settings on another weight and bias."""
    if isinstance(layer, nn.Linear):
        return _given(_Rows(layer.in_features, layer.out_features, device="meta"), weight, bias)
    more = {"output_padding": layer.output_padding} if isinstance(layer, _TRANSPOSED) else {}
    new = type(layer)(
        *(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding),
        dilation=layer.dilation,
        groups=layer.groups,
        padding_mode=layer.padding_mode,
        bias=bias is not None,
        device="meta",
        **more,
    )
    return _given(new, weight, bias)


def _given(layer: Any, weight: Tensor, bias: Tensor | None) -> Any:
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return layer.eval()


class _Rows(nn.Linear):
    """A linear layer on rows (N, C): in (N, L, C), the batch norm would have had its channels along L."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 2:
            raise NetLensError(
                f"a batch norm that was folded into {self} normalizes dimension 1 of {tuple(input.shape)}; "
                "this network cannot be folded."
            )
        return super().forward(input)
