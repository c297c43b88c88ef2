"""The properties that the table of operations lists: what an operation does to values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any

from torch import nn


class Trait(Flag):
    """A property of an operation that holds for all arguments. Properties combine as flags.

    Example:
        >>> bool((Trait.LINEAR | Trait.VIEW) & Trait.VIEW)
        True
    """

    ELEMENTWISE = auto()
    """Each output depends only on the input value at its position, and on numbers."""
    RECTIFIER = auto()
    """The operation is an activation function that lets large values pass."""
    MORTAL = auto()
    """The function is constant above or below a bound, so that no gradient passes there."""
    HOMOGENEOUS = auto()
    """f(t x) = t f(x) for t > 0: the function has no bias."""
    KEEPS = auto()
    """The output holds the input values, each at its position."""
    MOVES = auto()
    """Each output is one of the input values. Its position depends on no value."""
    FILLS = auto()
    """As `MOVES`, but some outputs may be constants, such as the border of a padded map."""
    PADS = auto()
    """As `FILLS`: the operation puts a border around its input."""
    CASTS = auto()
    """The outputs are the input values in the same order, perhaps of another type."""
    JOINS = auto()
    """The output holds several tensors side by side."""
    WEIGHS = auto()
    """The outputs are sums that trained weights multiply: a linear layer or a convolution."""
    LINEAR = auto()
    """The function is linear, up to a constant, in all tensors together."""
    MULTILINEAR = auto()
    """The function is linear in each tensor if the other tensors are constant."""
    POSITIVE = auto()
    """The function is linear, and no coefficient is negative."""
    MATRIX_PRODUCT = auto()
    """The operation multiplies matrices: the last two dimensions of two tensors."""
    MEETS = auto()
    """The operation is arithmetic on two tensors, element by element."""
    PER_CHANNEL = auto()
    """The operation treats each channel (dimension 1) by separate numbers, such as a weight for each channel."""
    BY_SAMPLE = auto()
    """Each output sample depends on one input sample alone, for every dimension that may hold the samples."""
    CHANNELS_FIRST = auto()
    """The channels of the output are dimension 1."""
    CHANNELS_LAST = auto()
    """The channels are the last dimension. Each row of outputs along it depends on the same row of the first input."""
    BY_PLACE = auto()
    """The dimensions from 2 on are positions. Each output depends on input positions around its own."""
    POOLS = auto()
    """As `BY_PLACE`: each output is a summary of the values in a window of its own channel."""
    RESIZES = auto()
    """As `BY_PLACE`: each output interpolates between values of its own channel."""
    REDUCES = auto()
    """The values along the dimensions that the call names become one value, or all values if it names none."""
    NORM = auto()
    """The operation divides by a size that it measures or has recorded."""
    SOFTMAX = auto()
    """The outputs along a dimension are positive and sum to 1."""
    LOG_SOFTMAX = auto()
    """The outputs are the logarithms of a softmax."""
    NONNEGATIVE = auto()
    """The operation is an activation function without negative outputs. Gates, whose outputs end at 1, are no such."""
    VIEW = auto()
    """The output may share memory with the first input."""
    FRESH = auto()
    """The output is a new tensor, and autograd does not read it in the backward pass."""
    INVERTIBLE = auto()
    """The gradient can be computed from the output."""
    DISCRETE = auto()
    """The outputs are integers or booleans."""
    STEPS = auto()
    """The outputs are real numbers that change only in jumps, such as signs."""
    INDICES = auto()
    """The outputs are values and their indices."""
    INDICES_ALONG = auto()
    """The outputs are values and their indices if the call names a dimension."""
    CONSTANT = auto()
    """The output depends only on the shape and type of the first input."""
    NUMBER = auto()
    """The output is a Python number."""


NO_TRAITS = Trait(0)


class Reach(Enum):
    """The part of the input map on which one output depends."""

    POINT = "the values at its position"
    WINDOW = "the values in a sliding window"
    ROW = "all values along the last dimension"
    WHOLE = "all values"
    UNKNOWN = "unknown from the type of the operation alone"


class Curve(Enum):
    """The shape of an elementwise function. It decides when a difference of two outputs has enough correct digits."""

    COPY = "between kinks, the function copies its input or is constant: differences are exact"
    SCALED = "smooth except at 0, such as a power"
    UNIT = "smooth, and it bends around 1, such as a sigmoid"
    KINKED = "like UNIT, with kinks"


class Relevance(Enum):
    """The role of an operation in relevance propagation."""

    ARRANGES = "each output is one of the inputs, or a constant: relevance follows the true gradient"
    COPIES = "a copy that stops gradients: relevance passes unchanged"
    PASSES = "elementwise, or a division by a norm: relevance passes unchanged"
    CENTERS = "a normalization that subtracts a mean"
    SQUASHES = "elementwise, with outputs between 0 and 1, such as a gate: relevance passes unchanged"
    SOFTMAX = "a softmax"
    MULTIPLIES = "an elementwise product"
    DIVIDES = "an elementwise quotient"
    CONTRACTS = "a sum of products, such as a matrix product"
    ATTENDS = "attention in one fused call: query, key, value"
    WEIGHTS = "a convolution or linear layer"
    COMPOSED = "several pieces with a role each, such as a recurrent layer"
    MIXES = "any other operation: a sum, a mean, an affine norm, an opaque module"


@dataclass(frozen=True)
class Operation:
    """One row of the table of operations.

    Args:
        types: Module types. A subclass has the row of its nearest base class.
        names: Names of functions. A function layer without a row by name has the row of its layer type.
        traits: The properties that hold for all arguments.
        reach: The part of the input map on which one output depends.
        curve: The shape of an elementwise function; None for other operations, and if DeepLIFT has a special rule.
        relevance: The role in relevance propagation.
        in_place: A function that overwrites its input, called as `in_place(x, inplace=True)`; None if there is none.

    Example:
        >>> Operation(traits=Trait.LINEAR).has(Trait.LINEAR | Trait.VIEW)
        True
    """

    types: tuple[type[nn.Module], ...] = ()
    names: tuple[str, ...] = ()
    traits: Trait = NO_TRAITS
    reach: Reach = Reach.UNKNOWN
    curve: Curve | None = None
    relevance: Relevance = Relevance.MIXES
    in_place: Callable[..., Any] | None = None

    def has(self, traits: Trait) -> bool:
        """Whether the operation has at least one of these traits."""
        # runs call this often, so it creates no new flag object
        return bool(self.traits.value & traits.value)
