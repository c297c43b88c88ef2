"""An input that fits a network: whatever a person holds as images, as the batch that the network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from netlens.classes import ClassNames
from netlens.errors import NetLensError, TraceError
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.flat.bundle import bundled
from netlens.flat.intake import channels_of, check_fits, check_type, fitted
from netlens.flat.layout import is_sequence, ndim_of, rank_of
from netlens.flat.proof import prove
from netlens.flat.tracing import example_of, input_names
from netlens.flat.twin import unwrapped
from netlens.options import checked
from netlens.preprocessing import Preprocessing, as_batch, check_finite


@dataclass(frozen=True, eq=False)
class Input:
    """A batch, and the flat model that it fits.

    Args:
        flat: the network, with the preprocessing and the class names that apply to this input.
        batch: (N, ...), of the type, on the device and with the channels that the network takes.
    """

    flat: FlatModel
    batch: Tensor

    @classmethod
    def of(
        cls,
        network: FlatModel | nn.Module,
        x: Any,
        preprocessing: Preprocessing | None = None,
        classes: ClassNames | Sequence[str] | None = None,
    ) -> Input:
        """Flatten a network if it is not flat yet, and make a batch for it of images in any form.

        Args:
            network: a `FlatModel`, or any module.
            x: what `as_batch` takes; or a float tensor of vectors, signals, volumes or clips with the samples first. A
                network of several inputs takes a tuple in the order of its inputs, or a dict by their names.
            preprocessing: how the network wants its images; None for what its adapter says.
            classes: the names of its classes; None for what its adapter says.

        Raises:
            ImageError: an image cannot be read, or has the wrong number of channels.
            NetLensError: the input has another type, or lies on another device, than the weights.
            NotApplicable: the network has several inputs, but x is a single one.
            NonFiniteError: the input holds NaN or Inf.

        Example:
            >>> import torch
            >>> Input.of(nn.Sequential(nn.Conv2d(1, 4, 3)), torch.zeros(1, 8, 8)).batch.shape
            torch.Size([1, 1, 8, 8])
        """
        checked("preprocessing", preprocessing, Preprocessing | None)
        several = named_inputs(network, x)
        if several is not None:
            return cls(*_of_several(network, several, preprocessing, classes))
        flat = _with_knowledge(_flattened(network, x, preprocessing), preprocessing, classes)
        batch = _batch(x, flat)
        check_fits(flat, batch)
        return cls(flat.fitting(batch[:1]), batch)


def _flattened(network: FlatModel | nn.Module, x: Any, preprocessing: Preprocessing | None) -> FlatModel:
    """The flat model; a two-stage detector looks for its boxes on the images, so it is flattened with them."""
    if not isinstance(network, nn.Module) or isinstance(network, FlatModel):
        return FlatModel.from_nn_Module(network)
    adapter = adapter_of(unwrapped(network))
    chosen = adapter.preprocessing if preprocessing is None else preprocessing
    if adapter.unwrap is not None:
        return FlatModel.from_nn_Module(network, images=_images(x, network, chosen, None))
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    try:
        flat = FlatModel.from_nn_Module(network)
    except TraceError:
        flat = None
    if flat is not None and not flat.opaque and not hooked and _is_proven(flat, network, x, preprocessing):
        return flat
    # code that asks for shapes, and hooks that may change values, need an example
    as_given = _is_float(x) and (_needs_no_preprocessing(x) or x.ndim == 4 or _reads_signals(network))
    example = x.detach() if as_given else _images(x, network, chosen, None)
    try:
        return FlatModel.from_nn_Module(network, example=example[:1])
    except TraceError:
        if flat is None or hooked:
            raise
        return flat


def _is_proven(flat: FlatModel, network: nn.Module, x: Any, preprocessing: Preprocessing | None) -> bool:
    """Whether a flat model that was made without an example gives what its network gives on the first sample of x."""
    example, original = _batch(x, _with_knowledge(flat, preprocessing, None))[:1], unwrapped(network)
    return _gives(flat, network, example_of(original, example))


def _with_knowledge(
    flat: FlatModel, preprocessing: Preprocessing | None, classes: ClassNames | Sequence[str] | None
) -> FlatModel:
    """The flat model with the given preprocessing and class names, where they are given."""
    chosen = flat.adapter.preprocessing if preprocessing is None else preprocessing
    if preprocessing is None and channels_of(flat) == 1 and len(chosen.mean) == 3:
        # the family's mean and std are those of colors; a gray pixel is the average of three equal colors
        chosen = replace(chosen, mean=(sum(chosen.mean) / 3,), std=(sum(chosen.std) / 3,))
    names = classes if isinstance(classes, ClassNames) or classes is None else ClassNames(classes)
    adapter = None if chosen is flat.adapter.preprocessing else replace(flat.adapter, preprocessing=chosen)
    return flat.knowing(adapter, names)


def _of_several(
    network: FlatModel | nn.Module,
    inputs: Mapping[str, Any],
    preprocessing: Preprocessing | None,
    classes: ClassNames | Sequence[str] | None,
) -> tuple[FlatModel, Tensor]:
    """The bundle of a network of several inputs, and its batch. Inputs that are pictures are preprocessed."""
    chosen = adapter_of(unwrapped(network)).preprocessing if preprocessing is None else preprocessing
    values = {name: _images(x, network, chosen, None) if _is_pictures(x) else x for name, x in inputs.items()}
    order = list(signature(network.forward).parameters)
    values = dict(sorted(values.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))
    flat = network if isinstance(network, FlatModel) else _flat_of_several(network, values)
    unknown = [name for name in values if name not in flat.inputs]
    if unknown:
        raise NetLensError(f"{flat.name} has no input {unknown[0]!r}; its inputs are {', '.join(flat.inputs)}.")
    for name, value in values.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            check_type(flat, value, f"{name!r}")
            check_finite(value, f"{name!r}")
    bundle, batch = bundled(_with_knowledge(flat, preprocessing, classes), values)
    return bundle, batch


def _flat_of_several(network: nn.Module, values: Mapping[str, Any]) -> FlatModel:
    """The flat model of a network of several inputs, with them as the example if it cannot be made without one."""
    tensors = [x for x in values.values() if isinstance(x, Tensor) and x.ndim > 0]
    count = max(map(len, tensors), default=1)
    rows = [x.expand(count, *x.shape[1:]) if len(x) == 1 else x for x in tensors]
    example = dict(zip(values, rows, strict=False))
    if len(tensors) < len(values) or not isinstance(network, nn.Module):  # an error says so later
        return FlatModel.from_nn_Module(network, inputs=list(values))
    try:
        flat = FlatModel.from_nn_Module(network, inputs=list(values))
        if not flat.opaque and _gives(flat, network, example):
            return flat
    except TraceError:
        pass
    return FlatModel.from_nn_Module(network, inputs=list(values), example=example)


def _gives(flat: FlatModel, network: nn.Module, example: Mapping[str, Any]) -> bool:
    """Whether a flat model gives what its network gives on an example, or the network does not run on it at all."""
    try:
        prove(flat, unwrapped(network), example)
    except TraceError:
        return False
    except Exception:  # the network does not take this input; its own error is clearer where it runs
        return True
    return True


def named_inputs(network: FlatModel | nn.Module, x: Any) -> dict[str, Any] | None:
    """The inputs by name, if x is a dict of them, or a tuple for a network that needs several; else None."""
    if isinstance(x, Mapping) and not {"pixel_values"} <= set(x) <= {"pixel_values", "pixel_mask"}:
        return dict(x)  # what an image processor gives is no dict of inputs, but a batch of pictures
    if not isinstance(x, tuple) or not isinstance(network, nn.Module):
        return None
    names = network.inputs if isinstance(network, FlatModel) else input_names(unwrapped(network), None)
    if len(names) < 2:
        return None
    if len(names) != len(x):
        raise NetLensError(
            f"{type(network).__name__} takes {len(names)} inputs ({', '.join(names)}), but got {len(x)}; give one for "
            "each, or a dict by name."
        )
    return dict(zip(names, x, strict=True))


def _is_pictures(x: Any) -> bool:
    """Whether an input is to be preprocessed: a file, a picture, or pixels of 8 bits, and no tensor of numbers."""
    if isinstance(x, Tensor):
        return x.dtype == torch.uint8 and x.ndim in (3, 4)
    return not isinstance(x, int | float | bool) and x is not None


def _is_float(x: Any) -> TypeGuard[Tensor]:
    return isinstance(x, Tensor) and x.is_floating_point()


def _reads_signals(network: nn.Module) -> bool:
    """Whether the first layer that mixes values is one of signals or volumes; for networks that are not flat yet."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RNNBase)
    first = next((part for part in network.modules() if isinstance(part, kinds)), None)
    return first is not None and not isinstance(first, nn.Conv2d)


def _needs_no_preprocessing(x: Any) -> TypeGuard[Tensor]:
    """Whether an input is a float tensor of vectors, or of clips of video."""
    return _is_float(x) and x.ndim in (2, 5)


def _batch(x: Any, flat: FlatModel) -> Tensor:
    if _is_float(x) and len(flat.inputs) == 1:
        rank = rank_of(flat)
        if rank in (1, 3) and ndim_of(flat) == x.ndim + 1:  # one signal or volume
            return x.detach()[None]
        if rank in (1, 3) or is_sequence(flat, x):
            return x.detach()
    if _needs_no_preprocessing(x):
        return x.detach()
    return _images(x, flat, flat.adapter.preprocessing, channels_of(flat))


def _images(x: Any, network: nn.Module, preprocessing: Preprocessing, channels: int | None) -> Tensor:
    """The images as a batch of the network's type on its device; a float tensor keeps its type and device."""
    batch = as_batch(x, preprocessing, channels)
    if isinstance(x, Tensor) and x.is_floating_point():
        return batch.detach()
    return fitted(network, batch)
