"""An input that fits a network: whatever a person holds as images, as the batch that the network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from torch import Tensor, nn

from netlens.classes import ClassNames
from netlens.errors import TraceError
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.flat.intake import channels_of, check_fits, fitted
from netlens.flat.proof import prove
from netlens.flat.tracing import example_of
from netlens.flat.twin import unwrapped
from netlens.options import checked
from netlens.preprocessing import Preprocessing, as_batch


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
            x: what `as_batch` takes; or a float tensor (N, features) of vectors or (N, C, T, H, W) of clips.
            preprocessing: how the network wants its images; None for what its adapter says.
            classes: the names of its classes; None for what its adapter says.

        Raises:
            ImageError: an image cannot be read, or has the wrong number of channels.
            NetLensError: the input has another type, or lies on another device, than the weights.
            NotApplicable: the network has several inputs.
            NonFiniteError: the input holds NaN or Inf.

        Example:
            >>> import torch
            >>> Input.of(nn.Sequential(nn.Conv2d(1, 4, 3)), torch.zeros(1, 8, 8)).batch.shape
            torch.Size([1, 1, 8, 8])
        """
        checked("preprocessing", preprocessing, Preprocessing | None)
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
    example = x.detach() if _needs_no_preprocessing(x) else _images(x, network, chosen, None)
    try:
        return FlatModel.from_nn_Module(network, example=example[:1])
    except TraceError:
        if flat is None or hooked:
            raise
        return flat


def _is_proven(flat: FlatModel, network: nn.Module, x: Any, preprocessing: Preprocessing | None) -> bool:
    """Whether a flat model that was made without an example gives what its network gives on the first sample of x."""
    example, original = _batch(x, _with_knowledge(flat, preprocessing, None))[:1], unwrapped(network)
    try:
        prove(flat, original, example_of(original, example))
    except TraceError:
        return False
    except Exception:  # the network does not take this input; its own error is clearer where it runs
        return True
    return True


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


def _needs_no_preprocessing(x: Any) -> TypeGuard[Tensor]:
    """Whether an input is a float tensor of vectors, or of clips of video."""
    return isinstance(x, Tensor) and x.is_floating_point() and x.ndim in (2, 5)


def _batch(x: Any, flat: FlatModel) -> Tensor:
    if _needs_no_preprocessing(x):
        return x.detach()
    return _images(x, flat, flat.adapter.preprocessing, channels_of(flat))


def _images(x: Any, network: nn.Module, preprocessing: Preprocessing, channels: int | None) -> Tensor:
    """The images as a batch of the network's type on its device; a float tensor keeps its type and device."""
    batch = as_batch(x, preprocessing, channels)
    if isinstance(x, Tensor) and x.is_floating_point():
        return batch.detach()
    return fitted(network, batch)
