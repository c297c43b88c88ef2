"""How a network ends: the last activation of an output, and the dimension of its classes, from the operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from netlens.flat.layers import Divide, Function, OfUnitSize, Permute, Reshape, Select, Slot, Standardized, fill
from netlens.flat.operations import Trait, innermost, is_kind, name_of, operation_of
from netlens.flat.running import Program, Step

Activation = Literal["softmax", "log_softmax", "sigmoid"]

SQUEEZED = "squeezed"  # the dimension of the channels is gone: one number at each position

_KEEP = {"contiguous", "clone", "to", "type_as", "type", "float", "double", "half", "bfloat16"}
_RESIZE = {"interpolate", "upsample"}
_SIZES = {"norm", "linalg_norm", "linalg_vector_norm", "vector_norm", "sqrt", "sum", "pow", "square", "clamp", "mul"}
_SIZES |= {"clamp_min", "expand_as", "expand", "add", "abs", "maximum", "unsqueeze"}
_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AvgPool2d)
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.Upsample,
    nn.PixelShuffle,
    nn.Softmax2d,
)
_CHANNELS_FIRST_NAMES = {f"{op}{n}d" for op in ("conv", "conv_transpose", "avg_pool", "max_pool") for n in (1, 2, 3)}
_CHANNELS_FIRST_NAMES |= {"batch_norm", "group_norm", "instance_norm", "pixel_shuffle", "interpolate", "upsample"}


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
            if _merges_samples(inner):
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
        if name_of(inner) in _RESIZE or is_kind(inner, nn.Upsample):
            exact = False  # the mean of two probabilities is not the probability of the mean score
        elif not _rearranges(at, steps):
            break
        moves.insert(0, at.layer)
        if _merges_samples(inner):
            merged = Ending(at.reads[0], moves=tuple(moves))
        at = steps.get(at.reads[0])
    return Ending(key) if merged is None else merged


def channel_axis(program: Program, key: str, ndim: int) -> int | str | None:
    """The dimension of the channels (or classes) of a value of `ndim` dimensions.

    Returns:
        The dimension; `SQUEEZED` if the network has dropped the only channel; None if the operations do not say.
    """
    axis = _Axes(program).axis(key, ndim)
    return axis % ndim if isinstance(axis, int) and ndim else axis


def has_unit_length(program: Program, key: str) -> bool:
    """Whether the network divides the value by its length."""
    steps = {step.key: step for step in program.steps}
    at = steps.get(key)
    while at is not None and _rearranges(at, steps):
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


def is_normalized_features(program: Program, key: str) -> bool:
    """Whether the value comes from a layer norm, with at most a mean or a selection after it: no classifier."""
    at = _without_moves(program, key, pools=True)
    return at is not None and (
        is_kind(at.layer, (nn.LayerNorm, nn.RMSNorm, Standardized, OfUnitSize))
        or name_of(innermost(at.layer)) in {"layer_norm", "rms_norm"}
    )


def is_rectified(program: Program, key: str) -> bool:
    """Whether the value ends in an activation that gives no negative values, such as a ReLU."""
    at = _without_moves(program, key)
    return at is not None and (
        is_kind(at.layer, (nn.ReLU, nn.ReLU6, nn.Softplus)) or name_of(innermost(at.layer)) in {"relu", "softplus"}
    )


def is_linear_head(program: Program, key: str) -> bool:
    """Whether the value comes from a linear layer or a convolution, as scores do."""
    at = _without_moves(program, key)
    return at is not None and (
        is_kind(at.layer, (nn.Linear, nn.modules.conv._ConvNd))
        or name_of(innermost(at.layer)) in {"linear", "conv1d", "conv2d", "conv3d", *_RESIZE}
    )


def is_joined(program: Program, key: str) -> bool:
    """Whether the value is several values side by side, such as boxes and scores."""
    at = _without_moves(program, key)
    return at is not None and name_of(innermost(at.layer)) in {"cat", "concat", "concatenate", "stack"}


def _without_moves(program: Program, key: str, pools: bool = False) -> Step | None:
    """The step that computes a value, before its rearrangements, and before its means if `pools`."""
    steps = {step.key: step for step in program.steps}
    at = steps.get(key)
    while at is not None and (_rearranges(at, steps) or (pools and _pools(at))):
        at = steps.get(at.reads[0])
    return at


def _pools(step: Step) -> bool:
    inner = innermost(step.layer)
    return is_kind(inner, _POOLS) or name_of(inner) in {"mean", "adaptive_avg_pool2d", "adaptive_avg_pool1d"}


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
    if is_kind(inner, (nn.Softmax, nn.Softmax2d)) or name == "softmax":
        return "softmax"
    if is_kind(inner, nn.LogSoftmax) or name == "log_softmax":
        return "log_softmax"
    if is_kind(inner, nn.Sigmoid) or name == "sigmoid":
        return "sigmoid"
    read = steps.get(step.reads[0]) if step.reads else None
    if name == "log" and read is not None and _activation(read, steps) == "softmax":
        return "log_softmax"
    return None


def _rearranges(step: Step, steps: Mapping[str, Step]) -> bool:
    """Whether a step only moves the values of one tensor, or changes their type."""
    inner = innermost(step.layer)
    if not step.reads or any(key in steps and not steps[key].hidden for key in step.reads[1:]):
        return False
    if len(step.reads) > 2 or (len(step.reads) == 2 and not _first_size_is_samples(inner)):
        return False
    if isinstance(inner, Select):
        return not any(isinstance(item, (Tensor, Slot)) for item in _index(inner))
    if is_kind(inner, (nn.Flatten, nn.Unflatten, nn.Identity)) or operation_of(inner).has(Trait.KEEPS):
        return True
    return isinstance(inner, (Reshape, Permute)) or name_of(inner) in _KEEP | {"flatten", "unflatten", "transpose"}


def _first_size_is_samples(layer: nn.Module) -> bool:
    """Whether the second value that a reshape reads is its first size: the number of samples."""
    if not isinstance(layer, Reshape):
        return False
    sizes = layer.args[1] if len(layer.args) == 2 and isinstance(layer.args[1], (tuple, list)) else layer.args[1:]
    return bool(sizes) and sizes[0] == Slot(1) and not any(isinstance(size, Slot) for size in sizes[1:])


def _merges_samples(layer: nn.Module) -> bool:
    """Whether the layer drops the dimension of the samples when there is only one sample."""
    if not isinstance(layer, Function) or name_of(layer) != "squeeze":
        return False
    dims = [*layer.args[1:], *layer.kwargs.values()]
    return not dims or dims == [0]


def _index(layer: Function) -> tuple[Any, ...]:
    index = layer.args[1] if len(layer.args) > 1 else ()
    return index if isinstance(index, tuple) else (index,)


class _Axes:
    """The dimension of the channels of the values of a program, followed back to an operation that decides it."""

    def __init__(self, program: Program) -> None:
        self.steps = {step.key: step for step in program.steps}

    def axis(self, key: str, ndim: int) -> int | str | None:
        step = self.steps.get(key)
        if step is None or ndim < 1:
            return None
        inner = innermost(step.layer)
        name = name_of(inner)
        if is_kind(inner, (nn.Linear, nn.LayerNorm, nn.RMSNorm)) or name in {"linear", "layer_norm", "rms_norm"}:
            return -1
        if is_kind(inner, _CHANNELS_FIRST) or name in _CHANNELS_FIRST_NAMES:
            return 1
        if is_kind(inner, (nn.Softmax, nn.LogSoftmax)) or name in {"softmax", "log_softmax"}:
            dim = getattr(inner, "dim", None) if not isinstance(inner, Function) else inner.kwargs.get("dim")
            return dim if isinstance(dim, int) else 1
        if not step.reads:
            return None
        operation = operation_of(inner)
        if operation.has(Trait.ELEMENTWISE | Trait.MEETS | Trait.KEEPS) or name in _KEEP | {"cat", "concat"}:
            known = (self.axis(read, ndim) for read in step.reads)
            return next((axis for axis in known if axis is not None), None)
        return self._before_moves(step, inner, name, ndim) if isinstance(inner, Function | nn.Flatten) else None

    def _before_moves(self, step: Step, inner: Any, name: str, ndim: int) -> int | str | None:
        read = step.reads[0]
        args: list[Any] = list(inner.args[1:]) if isinstance(inner, Function) else [inner.start_dim]
        if name == "permute":
            order = [d % ndim for d in (args[0] if args and isinstance(args[0], (tuple, list)) else args)]
            axis = _at(self.axis(read, ndim), ndim)
            return order.index(axis) if isinstance(axis, int) else axis
        if name in {"transpose", "swapaxes"} and len(args) == 2:
            one, other = (d % ndim for d in args)
            axis = _at(self.axis(read, ndim), ndim)
            return {one: other, other: one}.get(axis, axis) if isinstance(axis, int) else axis
        if (
            (isinstance(inner, nn.Flatten) or name == "flatten") and args and args[0] == ndim - 1
        ):  # the positions become one dimension
            axis = self.axis(read, ndim + 1)
            return axis if isinstance(axis, int) and 0 <= axis < args[0] else None
        if name == "squeeze" and not _merges_samples(inner):
            dim = args[0] if args else next(iter(inner.kwargs.values()))
            return _dropped(self.axis(read, ndim + 1), dim, ndim + 1) if isinstance(dim, int) else None
        if name == "squeeze":
            return self.axis(read, ndim)
        if isinstance(inner, Select) and name == "getitem":
            return self._selected(read, _index(inner), ndim)
        return None

    def _selected(self, read: str, index: tuple[Any, ...], ndim: int) -> int | str | None:
        if any(not isinstance(item, (int, slice)) for item in index):
            return None
        dropped = [d for d, item in enumerate(index) if isinstance(item, int)]
        before = ndim + len(dropped)
        axis: int | str | None = self.axis(read, before)
        for dim in reversed(dropped):
            axis = _dropped(axis, dim, before)
            before -= 1
        return axis


def _at(axis: int | str | None, ndim: int) -> int | str | None:
    return axis % ndim if isinstance(axis, int) else axis


def _dropped(axis: int | str | None, dim: int, ndim: int) -> int | str | None:
    """The dimension of the channels after the dimension `dim` of `ndim` is dropped."""
    if not isinstance(axis, int):
        return axis
    axis, dim = axis % ndim, dim % ndim
    return SQUEEZED if axis == dim else axis - (axis > dim)
