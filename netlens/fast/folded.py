"""The fast copy of a flat model, for what weights need no gradient for: batch norm folded, channels last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from netlens.fast.folding import foldable, foldings, rebuilt
from netlens.fast.layout import layout
from netlens.fast.watched import Watched
from netlens.flat.memo import Memo
from netlens.flat.model import FlatModel
from netlens.flat.rules import Ruled
from netlens.flat.taps import tapped_visit


class _Copy(NamedTuple):
    flat: FlatModel
    keep: frozenset[str]  # of the keys that it could fold
    foldable: frozenset[str]
    watched: Watched  # the weights of the network's layers of which the copy has copies; it shares all others


_COPIES: Memo[FlatModel, _Copy] = Memo()


def fast(flat: FlatModel, keep: Collection[str] = ()) -> FlatModel:
    """A flat model that computes the same to rounding in less time.

    It is `flat` itself while hooks listen to it, and where layers follow rules, which may ask for their very weights;
    give the copy the rules instead.

    keep: keys whose activations somebody reads; a convolution among them is not folded, as its key would then hold what
    the batch norm gives. The copy has weights of its own. The last one is kept as long as the flat model, and made anew
    when the network's weights have changed.
    """
    flat.follow()
    if tapped_visit(flat) is not None or any(isinstance(step.layer, Ruled) for step in flat.program.steps):
        return flat
    made = _COPIES.get(flat)
    could = foldable(flat.program) if made is None else made.foldable
    kept = frozenset(keep) & could  # most keys hinder no folding, so that most layers are served by one copy
    if made is None or made.keep != kept or made.watched.changed():
        made = _COPIES[flat] = _made(flat, kept, could)
    return made.flat


def _made(flat: FlatModel, keep: frozenset[str], could: frozenset[str]) -> _Copy:
    layers = foldings(flat.program, keep)
    rearranged = layout(flat.program) is torch.channels_last
    steps, copied = [], []
    for step in flat.program.steps:
        layer = layers.get(step.key, step.layer)
        if type(layer) is nn.Conv2d and rearranged:
            layer = _channels_last(layer)
        if layer is not step.layer:
            copied.append(step.layer)
        steps.append(replace(step, layer=layer))
    copy = flat.edited(replace(flat.program, steps=tuple(steps))).detached()  # made anew with its flat model
    return _Copy(copy, keep, could, Watched(copied))


def _channels_last(layer: nn.Conv2d) -> nn.Conv2d:
    weight = layer.weight.detach()
    if weight.is_contiguous(memory_format=torch.channels_last) or layer._forward_pre_hooks:
        return layer
    bias = None if layer.bias is None else layer.bias.detach()
    return rebuilt(layer, weight.contiguous(memory_format=torch.channels_last), bias)
