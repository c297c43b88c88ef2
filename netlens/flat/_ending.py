"""How an output ends: its last activation, and the value before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from netlens.flat._moves import merges_samples, rearranges
from netlens.flat.layers import Function, Select, fill
from netlens.flat.operations import Trait, innermost, is_kind, name_of, operation_of
from netlens.flat.running import Program, Step

Activation = Literal["softmax", "log_softmax", "sigmoid"]


@dataclass(frozen=True)
class Ending:
    """The last activation of an output, and the layers around it.

    Args:
        scores: The key of the value before the activation. It is the output itself if `exact` is False, or if there is
            no activation.
        activation: The activation; None if the output ends in none.
        moves: The layers between the activation and the output. They only rearrange values.
        exact: Whether the scores are the values before the activation. Otherwise, they follow from the probabilities.
    """

    scores: str
    activation: Activation | None = None
    moves: tuple[nn.Module, ...] = ()
    exact: bool = True

    def moved(self, value: Tensor) -> Tensor:
        """The value at `scores`, arranged as the output."""
        for layer in self.moves:
            inner = innermost(layer)
            if merges_samples(inner):
                continue
            if isinstance(inner, Function):  # each size that is computed at run time is the number of samples
                value = inner.function(*fill(inner.args, [value, len(value)]), **fill(inner.kwargs, [value]))
            else:
                value = layer(value)
        return value


def ending(program: Program, key: str) -> Ending:
    """How the value `key` of a program ends."""
    steps = {step.key: step for step in program.steps}
    moves: list[nn.Module] = []
    exact, merged = True, None
    at = steps.get(key)
    while at is not None:
        activation = _activation(at, steps)
        if activation is not None:
            return _ended(at, steps, activation, tuple(moves), exact, key)
        inner = innermost(at.layer)
        if operation_of(inner).has(Trait.RESIZES):
            exact = False  # the mean of two probabilities is not the probability of the mean score
        elif not rearranges(at, steps):
            break
        moves.insert(0, at.layer)
        if merges_samples(inner):
            merged = Ending(at.reads[0], moves=tuple(moves))
        at = steps.get(at.reads[0])
    return Ending(key) if merged is None else merged


def _ended(
    step: Step, steps: Mapping[str, Step], activation: Activation, moves: tuple[nn.Module, ...], exact: bool, key: str
) -> Ending:
    """The ending of an output whose last activation is `step`."""
    before = step.reads[0]
    if activation == "log_softmax" and name_of(innermost(step.layer)) == "log":
        before = steps[before].reads[0]
    if activation == "sigmoid" or not any(isinstance(innermost(layer), Select) for layer in moves):
        return Ending(before, activation, moves, True) if exact else Ending(key, activation, exact=False)
    # some of the classes of a softmax are selected, which then do not sum to 1
    return Ending(key, "sigmoid" if activation == "softmax" else activation, exact=False)


def _activation(step: Step, steps: Mapping[str, Step]) -> Activation | None:
    inner = innermost(step.layer)
    name = name_of(inner)
    operation = operation_of(inner)
    if operation.has(Trait.SOFTMAX):
        return "softmax"
    if operation.has(Trait.LOG_SOFTMAX):
        return "log_softmax"
    if is_kind(inner, nn.Sigmoid) or name == "sigmoid":
        return "sigmoid"
    read = steps.get(step.reads[0]) if step.reads else None
    if name == "log" and read is not None and _activation(read, steps) == "softmax":
        return "log_softmax"
    return None
