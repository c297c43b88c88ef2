"""The fast version of a flat model: batch norms are folded, and convolutions have channels last.

It is for runs that need no gradients of weights.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from netlens.fast._folding import copied, foldable, foldings, rebuilt
from netlens.fast._layout import layout
from netlens.fast._watched import Watched
from netlens.flat import FlatModel
from netlens.flat.layers import Computed, evaluated
from netlens.flat.rules import Ruled
from netlens.flat.running import tapped_visit
from netlens.memo import Memo


class _Fast(NamedTuple):
    """A fast version of a flat model.

    Attributes:
        flat: The fast version.
        keep: The keys of the foldable layers that are not folded.
        foldable: The keys of the layers into which a batch norm can be folded.
        watched: The weights of the original layers that differ in the fast version. All others are shared.
    """

    flat: FlatModel
    keep: frozenset[str]
    foldable: frozenset[str]
    watched: Watched


FAST: Memo[FlatModel, _Fast] = Memo()


def fast(flat: FlatModel, keep: Collection[str] = ()) -> FlatModel:
    """The fast version of a flat model. Its output is the same up to rounding.

    If taps are active, or if layers follow rules, the result is `flat` itself: a rule may read weights. So make the
    fast version first, and then apply rules to it.

    The fast version holds copies of some weights. It is stored as long as the flat model lives, and is made again if
    the weights of the network have changed.

    Args:
        flat: The flat model.
        keep: The keys whose activations the caller reads. A convolution among them is not folded. After folding, its
            key would hold the output of the batch norm.
    """
    flat.follow()
    if tapped_visit(flat) is not None or any(isinstance(step.layer, Ruled) for step in flat.program.steps):
        return flat
    version = FAST.answer(flat)
    foldable_keys = foldable(flat.program) if version is None else version.foldable
    kept_keys = frozenset(keep) & foldable_keys  # few keys can be folded, so most callers get the same version
    if version is None or version.keep != kept_keys or version.watched.changed():
        version = _fast_version(flat, kept_keys, foldable_keys)
        FAST.note(flat, None, version)
    return version.flat


def _fast_version(flat: FlatModel, keep: frozenset[str], foldable_keys: frozenset[str]) -> _Fast:
    memory_format = layout(flat.program)
    channels_last = memory_format is torch.channels_last
    layers = foldings(flat.program, keep, memory_format if channels_last else torch.preserve_format)
    steps, replaced = [], []
    for step in flat.program.steps:
        layer = layers.get(step.key, step.layer)
        if isinstance(layer, Computed):
            layer = evaluated(layer)
        if type(layer) is nn.Conv2d and channels_last:
            layer = _channels_last(layer)
        if layer is not step.layer:
            replaced.append(step.layer)
        steps.append(replace(step, layer=layer))
    # the version does not follow the network, because `fast` makes a new one if the network changes
    view = flat.edited(replace(flat.program, steps=tuple(steps))).detached()
    return _Fast(view, keep, foldable_keys, Watched(replaced))


def _channels_last(layer: nn.Conv2d) -> nn.Conv2d:
    if layer.weight.is_contiguous(memory_format=torch.channels_last) or layer._forward_pre_hooks:
        return layer
    bias = None if layer.bias is None else layer.bias.detach()
    converted: nn.Conv2d = rebuilt(layer, copied(layer, torch.channels_last), bias)
    return converted
