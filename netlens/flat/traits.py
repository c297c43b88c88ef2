"""The words in which the table of operations says what an operation does to values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any

from torch import nn


class Trait(Flag):
    """A property of an operation that holds for all arguments."""

    ELEMENTWISE = auto()
    """Each output follows from the one value at its place and from numbers."""
    RECTIFIER = auto()
    """An activation function that lets large values pass."""
    MORTAL = auto()
    """It is constant beyond an end, so that no gradient passes there."""
    HOMOGENEOUS = auto()
    """f(t x) = t f(x) for t > 0: it has no bias of its own."""
    KEEPS = auto()
    """It gives the values that it reads, each at its place."""
    MOVES = auto()
    """Each output is one of the inputs, at a place that depends on no value."""
    LINEAR = auto()
    """It is linear, up to a constant, in all tensors together."""
    MULTILINEAR = auto()
    """It is linear in each tensor while the others are constant."""
    POSITIVE = auto()
    """It is linear, and its coefficients are not negative."""
    MEETS = auto()
    """It is an arithmetic operation of two tensors, place by place."""
    PER_CHANNEL = auto()
    """It treats each channel, along dimension 1, by numbers of its own."""
    BY_SAMPLE = auto()
    """Each sample goes its own way, wherever the samples lie."""
    NORM = auto()
    """It divides by a size that it measures, or recorded."""
    SOFTMAX = auto()
    """Its outputs along a dimension are shares of 1."""
    VIEW = auto()
    """Its output may share memory with its first input."""
    FRESH = auto()
    """It gives a tensor of its own, and needs that tensor for no gradient."""
    INVERTIBLE = auto()
    """Its gradient follows from its output."""
    DISCRETE = auto()
    """It gives integers or booleans."""
    STEPS = auto()
    """It gives real numbers that change in jumps alone, such as signs."""
    INDICES = auto()
    """It gives values and their indices."""
    INDICES_ALONG = auto()
    """It gives values and their indices where it works along a dimension."""
    CONSTANT = auto()
    """It takes nothing of its first input but the shape and the type."""
    NUMBER = auto()
    """It gives a number of Python's."""


NO_TRAITS = Trait(0)


class Reach(Enum):
    """Which part of a map one output sees."""

    POINT = "the values at its place"
    WINDOW = "the values in a sliding window"
    ROW = "all values along the last dimension"
    WHOLE = "all values"
    UNKNOWN = "this depends on more than the operation"


class Curve(Enum):
    """The shape of an elementwise function, which says when the difference of two of its values holds enough digits."""

    COPY = "copies or constants between kinks: differences are exact"
    SCALED = "smooth but at 0, such as a power"
    UNIT = "smooth, and bends around 1, such as a sigmoid"
    KINKED = "as UNIT, with kinks"


class Relevance(Enum):
    """What a layer is to relevance."""

    ARRANGES = "each output is one of the inputs, or a constant: relevance goes back by the true gradient"
    COPIES = "a copy that hides from gradients: relevance passes as it is"
    PASSES = "elementwise, or divides by a norm: relevance passes as it is"
    CENTERS = "a normalization that subtracts a mean"
    SQUASHES = "elementwise, to between 0 and 1, as gates do: relevance passes as it is"
    SOFTMAX = "a softmax"
    MULTIPLIES = "an elementwise product"
    DIVIDES = "an elementwise quotient"
    CONTRACTS = "a sum of products, such as a matrix product"
    ATTENDS = "attention in one fused call: query, key, value"
    WEIGHTS = "a convolution or linear layer"
    COMPOSED = "known piece by piece, as recurrent layers are: each piece has a role of its own"
    MIXES = "all else: a sum, a mean, an affine norm, an opaque module"


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    Args:
        types: Module types; a subclass is known as the nearest of its bases that has a row.
        names: Functions, by their names; a function layer that has no row by name is known by its type.
        traits: Properties that hold for all arguments.
        reach: Which part of a map one output sees.
        curve: The shape of an elementwise function; None where DeepLIFT has a rule of its own for it.
        relevance: What relevance propagation does with it.
        in_place: The function that works in place of its input, as `in_place(x, inplace=True)`.
    """

    types: tuple[type[nn.Module], ...] = ()
    names: tuple[str, ...] = ()
    traits: Trait = NO_TRAITS
    reach: Reach = Reach.UNKNOWN
    curve: Curve | None = None
    relevance: Relevance = Relevance.MIXES
    in_place: Callable[..., Any] | None = None

    def has(self, traits: Trait) -> bool:
        """Whether it has one of these traits."""
        return bool(self.traits & traits)
