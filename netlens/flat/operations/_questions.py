"""Questions about operations, each answered from the table."""

from __future__ import annotations

from typing import Any

from torch import nn

from netlens.errors import NetLensError
from netlens.flat.layers import Function, Opaque, Piece, Wrapper
from netlens.flat.operations._table import BY_NAME, BY_TYPE, ROWS, UNKNOWN
from netlens.flat.operations._traits import Operation, Trait
from netlens.memo import forget_all

_ADDED: dict[str, Operation] = {}
LIKE: dict[type[nn.Module], type[nn.Module]] = {}
_VIEW_ATTRIBUTES = {"T", "mT", "H", "mH", "data", "real", "imag"}
_PACKAGES = ("torch", "torchvision", "_operator", "operator", "builtins", "math", "netlens")


def innermost(layer: nn.Module) -> nn.Module:
    """The layer without its wrappers (see `Wrapper`)."""
    while isinstance(layer, Wrapper):
        layer = layer.inner
    return layer


def name_of(layer: nn.Module) -> str:
    """The name of the function that a layer calls. It is empty for a module: the table lists modules by type."""
    return getattr(layer.function, "__name__", "") if isinstance(layer, Function) else ""


def operation_of(layer: nn.Module) -> Operation:
    """The row of a layer without its wrappers; `UNKNOWN` if the table has no row for it.

    A user's function may have the same name as a function of torch. So it has a row only if the user calls `add`.
    """
    inner = innermost(layer)
    if isinstance(inner, Function):
        name = name_of(inner)
        row = _ADDED.get(name, BY_NAME.get(name) if is_ours(inner.function) else None)
        if row is not None:
            return row
    for kind in type(inner).__mro__:
        if kind in BY_TYPE:
            return BY_TYPE[kind]
    return UNKNOWN


def exact_operation_of(layer: nn.Module) -> Operation:
    """The row of the layer's exact type; `UNKNOWN` if only a base class has a row, or if the layer is a wrapper."""
    row = BY_TYPE.get(type(layer), UNKNOWN)
    return row if type(layer) in row.types else UNKNOWN


def is_ours(function_or_type: Any) -> bool:
    """Whether a function or a type belongs to Python, torch, torchvision or netlens, so that its code is known."""
    module = getattr(function_or_type, "__module__", None) or "torch"  # methods of tensors have no module
    return module.split(".")[0] in _PACKAGES


def is_foreign(layer: nn.Module) -> bool:
    """Whether a layer, without its wrappers, is opaque or a user's module or function."""
    inner = innermost(layer)
    if isinstance(inner, Opaque):
        return True
    return not is_ours(inner.function if isinstance(inner, Function) else type(inner))


def has_known_forward(layer: nn.Module) -> bool:
    """Whether the row of a layer is right: its forward is that of torch or netlens, or `add` listed its type."""
    inner = innermost(layer)
    if isinstance(inner, Function):
        return operation_of(inner) is not UNKNOWN
    definer = next(kind for kind in type(inner).__mro__ if kind in LIKE or "forward" in vars(kind))
    return definer in LIKE or is_ours(definer)


def is_kind(layer: nn.Module, kinds: type[nn.Module] | tuple[type[nn.Module], ...]) -> bool:
    """Whether a layer without its wrappers has one of these types, or `add` listed its type as like one of them."""
    inner = innermost(layer)
    return isinstance(inner, kinds) or issubclass(LIKE.get(type(inner), type(inner)), kinds)


def is_added(kind: type[nn.Module]) -> bool:
    """Whether `add` listed this type."""
    return kind in LIKE


def types_with(traits: Trait) -> tuple[type[nn.Module], ...]:
    """All module types that have one of these traits."""
    return tuple(kind for row in ROWS if row.has(traits) for kind in row.types)


def add(operation: type[nn.Module] | str, like: type[nn.Module] | str) -> None:
    """Add your own operation to the table, with the row of a similar operation.

    A module of this type then stays one layer. DeepLIFT, relevance propagation, receptive fields, guided
    backpropagation and incremental occlusion treat it as they treat `like`. So it must have the properties of `like`.
    For example, if `like` is an elementwise activation function, each output must depend on one input value only.

    Args:
        operation: Your module type, or the name of your function.
        like: A module type or a function name that has a row.

    Raises:
        NetLensError: `like` has no row, or `operation` is neither a module type nor a name.

    Example:
        >>> add("swoosh", like="silu")
    """
    row = BY_NAME.get(like) if isinstance(like, str) else BY_TYPE.get(like)
    if row is None:
        name = like if isinstance(like, str) else like.__name__
        raise NetLensError(
            f"like={name!r} is not in the table of operations; give a module type or the name of a function of torch."
        )
    if not isinstance(operation, str) and not (isinstance(operation, type) and issubclass(operation, nn.Module)):
        raise NetLensError(f"an operation must be a module type or the name of a function, not {operation!r}.")
    forget_all()
    if isinstance(operation, str):
        _ADDED[operation] = row
        return
    BY_TYPE[operation] = row
    LIKE[operation] = like if isinstance(like, type) else next(iter(row.types), operation)


def is_view(layer: nn.Module) -> bool:
    """Whether the output of a layer may share memory with its first input, as in the original network."""
    if isinstance(layer, Function) and layer.function is getattr:
        return layer.args[1] in _VIEW_ATTRIBUTES
    return not isinstance(layer, Wrapper) and operation_of(layer).has(Trait.VIEW)


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is linear, up to a constant, in all its inputs together, so that its gradient is constant."""
    inner = innermost(layer)
    if isinstance(inner, Piece) and inner.linear:  # the adapter that writes the piece says so
        return True
    # a norm that divides by running statistics is linear, too
    return operation_of(inner).has(Trait.LINEAR) or getattr(inner, "running_mean", None) is not None


def is_product(layer: nn.Module) -> bool:
    """Whether a layer is linear in each of its input tensors while the others are constant."""
    return operation_of(layer).has(Trait.MULTILINEAR)


RECTIFIERS: tuple[type[nn.Module], ...] = types_with(Trait.RECTIFIER)
"""The activation functions that let large values pass. Guided backpropagation and similar methods change them."""
