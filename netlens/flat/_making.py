"""What the operations that make a value say about it: the layout, and whether it is an embedding or scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from netlens.flat._axes import channel_axis
from netlens.flat._moves import rearranges, without_moves
from netlens.flat.layers import Divide, OfUnitSize, Standardized
from netlens.flat.operations import Trait, innermost, is_kind, name_of, operation_of
from netlens.flat.running import Program, Step

_SIZES = {"norm", "linalg_norm", "linalg_vector_norm", "vector_norm", "sqrt", "sum", "pow", "square", "clamp", "mul"}
_SIZES |= {"clamp_min", "expand_as", "expand", "add", "abs", "maximum", "unsqueeze"}
_CLASSIFIERS = ("fc", "head", "heads", "classifier")


@dataclass(frozen=True)
class Making:
    """What the operations that make a value say about it.

    Args:
        axes: For each number of dimensions that the value may have, the dimension of its channels (or classes).
            `SQUEEZED` if the network has dropped the only channel; None if the operations do not say.
        is_embedding: Whether the value is divided by its length, comes from a layer norm without a classifier, or from
            an identity that took the place of the classifier.
        is_linear: Whether the value comes from a linear layer or a convolution, as scores do.
        is_rectified: Whether the value ends in an activation that gives no negative values, such as a ReLU.
        is_joined: Whether the value is several values side by side, such as boxes and scores.
    """

    axes: Mapping[int, int | str | None]
    is_embedding: bool
    is_linear: bool
    is_rectified: bool
    is_joined: bool


def making(program: Program, key: str) -> Making:
    """What the operations say about the value `key` of a program."""
    return Making(
        {ndim: channel_axis(program, key, ndim) for ndim in (3, 4, 5, 6)},
        any(says(program, key) for says in (_has_unit_length, _is_normalized_features, _lacks_its_classifier)),
        _is_linear(program, key),
        _is_rectified(program, key),
        _is_joined(program, key),
    )


def _has_unit_length(program: Program, key: str) -> bool:
    """Whether the network divides the value by its length."""
    steps = {step.key: step for step in program.steps}
    at = steps.get(key)
    while at is not None and rearranges(at, steps):
        at = steps.get(at.reads[0])
    if at is None:
        return False
    if name_of(innermost(at.layer)) == "normalize":
        return True
    if not isinstance(innermost(at.layer), Divide) or len(at.reads) != 2:
        return False
    value, pending, measures = at.reads[0], [at.reads[1]], False
    while pending:
        key = pending.pop()
        if key == value:
            continue
        size = steps.get(key)
        if size is None or name_of(innermost(size.layer)) not in _SIZES:
            return False
        measures = measures or name_of(innermost(size.layer)) in {"sqrt", "pow"} or "norm" in name_of(size.layer)
        pending.extend(size.reads)
    return measures


def _is_normalized_features(program: Program, key: str) -> bool:
    """Whether the value comes from a layer norm, with at most a mean or a selection after it: no classifier."""
    at = without_moves(program, key, _pools)
    return at is not None and (
        is_kind(at.layer, (Standardized, OfUnitSize))
        or (operation_of(at.layer).has(Trait.NORM) and operation_of(at.layer).has(Trait.CHANNELS_LAST))
    )


def _lacks_its_classifier(program: Program, key: str) -> bool:
    """Whether the value comes from an identity with the name of a classifier, as in `resnet.fc = nn.Identity()`."""
    step = next((step for step in program.steps if step.key == key), None)
    return step is not None and isinstance(innermost(step.layer), nn.Identity) and key.split(".")[-1] in _CLASSIFIERS


def _is_rectified(program: Program, key: str) -> bool:
    """Whether the value ends in an activation that gives no negative values, such as a ReLU."""
    at = without_moves(program, key)
    return at is not None and operation_of(at.layer).has(Trait.NONNEGATIVE)


def _is_linear(program: Program, key: str) -> bool:
    """Whether the value comes from a linear layer or a convolution, perhaps resized or scaled, as scores do."""
    at = without_moves(program, key, lambda step: operation_of(step.layer).has(Trait.MEETS))
    return at is not None and operation_of(at.layer).has(Trait.WEIGHS | Trait.RESIZES)


def _is_joined(program: Program, key: str) -> bool:
    """Whether the value is several values side by side, such as boxes and scores."""
    at = without_moves(program, key)
    return at is not None and operation_of(at.layer).has(Trait.JOINS)


def _pools(step: Step) -> bool:
    return operation_of(step.layer).has(Trait.POOLS | Trait.REDUCES)
