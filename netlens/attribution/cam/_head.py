"""Networks that end in a mean over space and linear layers, whose weights say much without a run."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from netlens.attribution.cam._layer import pools_all
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT, SCORES
from netlens.flat.layers import Permute, Reshape, Select
from netlens.flat.operations import Trait, is_kind, operation_of
from netlens.flat.running import Step
from netlens.objectives import Objective
from netlens.objectives.classes import is_sum_of_logits

_LINEAR = (nn.Flatten, Reshape, Permute, Select, nn.Linear)
_CHANNELS_FIRST = [0, 3, 1, 2]


def pooled_features(flat: FlatModel, key: str) -> str | None:
    """The key of the mean over space of the maps at `key`, if only linear layers lead from there to the class scores.

    None if another layer reads the maps or their mean, or if a layer on the way is not linear. Otherwise the gradient
    of a score at the pooled features is the row of the classifier's weights for that score.
    """
    step = _only_reader(flat, key)
    while step is not None and (operation_of(step.layer).has(Trait.KEEPS) or _brings_channels_first(step.layer)):
        step = _only_reader(flat, step.key)
    if step is None or not pools_all(step.layer) or is_kind(step.layer, nn.AdaptiveMaxPool2d):
        return None
    pooled = step.key
    ends = _keys_of_scores(flat)
    while step is not None and step.key not in ends:
        step = _only_reader(flat, step.key)
        if step is not None and not _is_linear(step.layer):
            return None
    return None if step is None else pooled


def of_scores(flat: FlatModel, objective: Objective) -> bool:
    """Whether the objective is a weighted sum of the scores that the network gives."""
    return flat.adapter.logits is None and is_sum_of_logits(objective)


def _keys_of_scores(flat: FlatModel) -> Sequence[str]:
    """Where the class scores lie: before the last activation, if the network ends in one, else at the output."""
    try:
        key = flat.key(SCORES)
    except NotApplicable:  # an output without classes
        key = OUTPUT
    return flat.program.outputs[-1:] if key == OUTPUT else (key,)


def _only_reader(flat: FlatModel, key: str) -> Step | None:
    # hidden steps are shape arithmetic, which passes no activation on
    readers = [step for step in flat.program.steps if key in step.reads and not step.hidden]
    return readers[0] if len(readers) == 1 else None


def _is_linear(layer: nn.Module) -> bool:
    return operation_of(layer).has(Trait.KEEPS) or is_kind(layer, _LINEAR)


def _brings_channels_first(layer: nn.Module) -> bool:
    return isinstance(layer, Permute) and list(layer.args[1:]) in ([_CHANNELS_FIRST], _CHANNELS_FIRST)
