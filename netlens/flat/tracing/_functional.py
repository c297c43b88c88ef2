"""Norms, convolutions and linear layers that a network calls as functions become the layers of torch.

Their weights are parameters, or follow from parameters in a few steps, as those of weight-standardized convolutions do.
Then the layer computes them anew in each run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.flat.layers import Constant, Function, Recipe, Slot, computed
from netlens.flat.running import Step

_Arguments = Mapping[str, Any]


def with_modules(steps: Sequence[Step], inputs: Collection[str], ndims: Mapping[str, int | None]) -> tuple[Step, ...]:
    """The steps of a program, in which modules replace the calls of such functions. The keys stay.

    Args:
        steps: The steps.
        inputs: The keys of the inputs of the program.
        ndims: The numbers of dimensions of the outputs by key, where they are known.
    """
    if not any(is_functional(step.layer) for step in steps):
        return tuple(steps)
    constants = _Constants(steps, inputs)
    return tuple(_as_module(step, constants, ndims) for step in steps)


def _as_module(step: Step, constants: _Constants, ndims: Mapping[str, int | None]) -> Step:
    if not is_functional(step.layer):
        return step
    assert isinstance(step.layer, Function)
    form = _FORMS[step.layer.function]
    arguments = form.bound(step.layer)
    slots = {name: step.reads[value.index] for name, value in arguments.items() if isinstance(value, Slot)}
    x = slots.pop("input", None)
    if x is None or x in constants or not constants.issuperset(slots.values()):
        return step
    if any(not isinstance(value, Slot) and _holds_slot(value) for value in arguments.values()):
        return step
    tensors = {name: constants.parameter(key) for name, key in slots.items()}
    recipes = {name: constants.recipe(slots[name]) for name, tensor in tensors.items() if tensor is None}
    if recipes and not form.weighs:
        return step
    shown = {name: constants.shown(key) for name, key in slots.items()}
    layer = form.make({**arguments, **tensors, **shown}, ndims.get(step.key))
    if layer is None:
        return step
    for name, tensor in tensors.items():
        _assign(layer, name, tensor)
    return Step(step.key, computed(layer.eval(), recipes), (x,))


def _assign(layer: nn.Module, name: str, tensor: Tensor | None) -> None:
    if name.startswith("running"):
        layer._buffers[name] = tensor
    else:
        layer._parameters[name] = tensor  # type: ignore[assignment]


class _Constants:
    """The values of a program that do not depend on its inputs."""

    def __init__(self, steps: Sequence[Step], inputs: Collection[str]) -> None:
        from_inputs = set(inputs)
        self.steps: dict[str, Step] = {}
        for step in steps:
            if from_inputs.isdisjoint(step.reads):
                self.steps[step.key] = step
            else:
                from_inputs.add(step.key)

    def __contains__(self, key: str) -> bool:
        return key in self.steps

    def issuperset(self, keys: Collection[str]) -> bool:
        return all(key in self.steps for key in keys)

    def parameter(self, key: str) -> Tensor | None:
        """The parameter or buffer that a value is; None if the network computes it."""
        layer = self.steps[key].layer
        if not isinstance(layer, Constant):
            return None
        value = layer.value
        return value if isinstance(value, nn.Parameter) else nn.Parameter(value, requires_grad=False)

    def recipe(self, key: str) -> Recipe:
        """How the network computes a value."""
        needed = {key}
        for step in reversed(self.steps.values()):
            if step.key in needed:
                needed.update(step.reads)
        steps = [step for step in self.steps.values() if step.key in needed]
        indices = {step.key: index for index, step in enumerate(steps)}
        return Recipe([step.layer for step in steps], [[indices[read] for read in step.reads] for step in steps])

    def shown(self, key: str) -> Tensor:
        """A tensor of the shape that a value has now."""
        tensor = self.parameter(key)
        with torch.no_grad():
            return self.recipe(key)() if tensor is None else tensor


def _holds_slot(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_holds_slot, value))
    return isinstance(value, Slot)


class _Form(NamedTuple):
    """How the call of a function becomes a module.

    Attributes:
        names: The names of the function's arguments, in order.
        make: A function from the arguments, and the number of dimensions of the output if it is known, to the module
            without its weights. It gives None if no module computes the same.
        weighs: Whether the function is a convolution or a linear layer.
    """

    names: tuple[str, ...]
    make: Callable[[_Arguments, int | None], nn.Module | None]
    weighs: bool = False

    def bound(self, layer: Function) -> dict[str, Any]:
        """The arguments of a call, by name."""
        return {**dict(zip(self.names, layer.args, strict=False)), **layer.kwargs}


def is_functional(layer: nn.Module) -> bool:
    """Whether a layer is the call of such a function."""
    return isinstance(layer, Function) and layer.function in _FORMS


def _linear(arguments: _Arguments, ndim: int | None) -> nn.Module | None:
    weight: Tensor = arguments["weight"]
    if weight.ndim != 2:
        return None
    return nn.Linear(weight.shape[1], weight.shape[0], bias=arguments.get("bias") is not None, device="meta")


def _convolution(kind: type[nn.Module], transposed: bool) -> Callable[[_Arguments, int | None], nn.Module | None]:
    def make(arguments: _Arguments, ndim: int | None) -> nn.Module | None:
        weight, groups = arguments["weight"], arguments.get("groups", 1)
        inside, outside = (1, groups) if transposed else (groups, 1)
        options = {"output_padding": arguments.get("output_padding", 0)} if transposed else {}
        channels = (weight.shape[1] * inside, weight.shape[0] * outside)
        return kind(
            *(reversed(channels) if transposed else channels),
            tuple(weight.shape[2:]),
            stride=arguments.get("stride", 1),
            padding=arguments.get("padding", 0),
            dilation=arguments.get("dilation", 1),
            groups=groups,
            bias=arguments.get("bias") is not None,
            device="meta",
            **options,
        )

    return make


def _batch_norm(arguments: _Arguments, ndim: int | None) -> nn.Module | None:
    return _by_channel(_BATCH_NORMS, arguments, ndim, bool(arguments.get("training", False)))


def _instance_norm(arguments: _Arguments, ndim: int | None) -> nn.Module | None:
    return _by_channel(_INSTANCE_NORMS, arguments, ndim, bool(arguments.get("use_input_stats", True)))


def _by_channel(
    kinds: Mapping[int | None, Callable[..., nn.Module]], arguments: _Arguments, ndim: int | None, measures: bool
) -> nn.Module | None:
    """A norm of each channel: by the statistics of the batch, which it `measures`, or by the running ones."""
    weight, running = arguments.get("weight"), arguments.get("running_mean")
    per_channel = weight if weight is not None else running
    if per_channel is None or (arguments.get("bias") is None) != (weight is None) or measures != (running is None):
        return None
    kind = kinds.get(ndim)
    if kind is None:
        return None
    norm = kind(
        len(per_channel),
        eps=arguments.get("eps", 1e-5),
        momentum=arguments.get("momentum", 0.1),
        affine=weight is not None,
        track_running_stats=running is not None,
        device="meta",
    )
    if running is not None:
        norm._buffers["num_batches_tracked"] = (
            None  # the call counts nothing, and a counter without a number cannot be moved
        )
    return norm


def _layer_norm(arguments: _Arguments, ndim: int | None) -> nn.Module:
    weighted = arguments.get("weight") is not None
    return nn.LayerNorm(
        tuple(arguments["normalized_shape"]),
        eps=arguments.get("eps", 1e-5),
        elementwise_affine=weighted,
        bias=arguments.get("bias") is not None,
        device="meta",
    )


def _rms_norm(arguments: _Arguments, ndim: int | None) -> nn.Module:
    weighted = arguments.get("weight") is not None
    return nn.RMSNorm(
        tuple(arguments["normalized_shape"]), arguments.get("eps"), elementwise_affine=weighted, device="meta"
    )


def _group_norm(arguments: _Arguments, ndim: int | None) -> nn.Module | None:
    weight, groups = arguments.get("weight"), arguments["num_groups"]
    if (arguments.get("bias") is None) != (weight is None):
        return None
    channels = groups if weight is None else len(weight)
    return nn.GroupNorm(groups, channels, arguments.get("eps", 1e-5), affine=weight is not None, device="meta")


class BatchNorm(nn.BatchNorm2d):
    """A batch norm of values whose number of dimensions is unknown without an example. Most are maps."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


_BATCH_NORMS: dict[int | None, Callable[..., nn.Module]] = {
    None: BatchNorm,
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
_INSTANCE_NORMS: dict[int | None, Callable[..., nn.Module]] = {
    3: nn.InstanceNorm1d,
    4: nn.InstanceNorm2d,
    5: nn.InstanceNorm3d,
}

_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_BY_CHANNEL = ("input", "weight", "bias", "running_mean", "running_var")


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


_FORMS: dict[Any, _Form] = {
    F.linear: _Form(("input", "weight", "bias"), _linear, True),
    **{
        function: _Form(names, _convolution(kind, transposed), True)
        for names, transposed, pairs in (
            (_CONVOLUTION, False, ((F.conv1d, nn.Conv1d), (F.conv2d, nn.Conv2d), (F.conv3d, nn.Conv3d))),
            (
                _TRANSPOSED,
                True,
                (
                    (F.conv_transpose1d, nn.ConvTranspose1d),
                    (F.conv_transpose2d, nn.ConvTranspose2d),
                    (F.conv_transpose3d, nn.ConvTranspose3d),
                ),
            ),
        )
        for function, kind in pairs
    },
    F.batch_norm: _Form(_names(F.batch_norm), _batch_norm),
    torch.batch_norm: _Form((*_BY_CHANNEL, "training", "momentum", "eps"), _batch_norm),
    F.instance_norm: _Form(_names(F.instance_norm), _instance_norm),
    torch.instance_norm: _Form((*_BY_CHANNEL, "use_input_stats", "momentum", "eps"), _instance_norm),
    F.layer_norm: _Form(_names(F.layer_norm), _layer_norm),
    F.group_norm: _Form(_names(F.group_norm), _group_norm),
    F.rms_norm: _Form(_names(F.rms_norm), _rms_norm),
}
