"""Adapters: what only a person knows about a family of networks, found by the class of the network."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from torch import Tensor, nn

from netlens.classes import ClassNames
from netlens.errors import NetLensWarning, NotApplicable
from netlens.preprocessing import IMAGENET, Preprocessing


@dataclass(frozen=True)
class Adapter:
    """What only a person knows about a family of networks. Every field has a default that suits a plain CNN.

    cam_layer: the key, or path, of the layer that class activation maps read; None for the automatic choice.
    preprocessing: how an image becomes the network's input.
    logits: takes the network's output in its own structure to class scores (N, classes) or maps (N, classes, h, w).
    grid: takes (flat, layer key, activation) to maps (N, C, h, w), or None if the layer has no place in the image.
    windows: takes (flat, key of an attention map) to the key of the layer that cuts a map (N, h, w, C) into the windows
    within which it attends, or to None where attention is among all tokens.
    classes: the names of its classes, where the family has usual ones.
    background: the class that means "nothing of interest", which is explained only when it is asked for.
    unwrap: takes the network (a twin on its weights) and the images to be explained, where they are known, to the
    module that is unrolled in its place; for networks whose own forward is no function of a batch of images.
    """

    cam_layer: str | None = None
    preprocessing: Preprocessing = IMAGENET
    logits: Callable[[Any], Tensor] | None = None
    grid: Callable[..., Tensor | None] | None = None
    windows: Callable[..., str | None] | None = None
    classes: ClassNames | None = None
    background: int | None = None
    unwrap: Callable[[nn.Module, Tensor | None], nn.Module] | None = None


class Detections(NamedTuple):
    """What a detector says about each of A candidate boxes, before it throws most of them away.

    boxes: (N, A, 4) as (x0, y0, x1, y1) in pixels of the input; or (N, A, classes, 4), one for each class.
    logits: (N, A, classes) before the softmax or sigmoid. scores: (N, A, classes) as the detector reports them.
    """

    boxes: Tensor
    logits: Tensor
    scores: Tensor


_REGISTRY: dict[str, Callable[[nn.Module], Adapter]] = {}
_REWRITES: dict[str, Callable[[Any], nn.Module | None]] = {}
_discovered = False
_DISCOVERY = threading.RLock()  # a second thread waits until all adapters are known


def register(*classes: str) -> Callable[[Callable[[nn.Module], Adapter]], Callable[[nn.Module], Adapter]]:
    """Register a function from a network to its `Adapter`, for classes (and their subclasses) by qualified name.

    The names are strings, so that an adapter for a library never imports that library. A package of yours makes its
    adapters known by an entry point in the group `netlens.adapters` that names the module to import.

    >>> @register("mypackage.models.MyNet")
    ... def mynet(network):
    ...     return Adapter(cam_layer="stages.3")
    """

    def add(make: Callable[[nn.Module], Adapter]) -> Callable[[nn.Module], Adapter]:
        for name in classes:
            _REGISTRY[name] = make
        return make

    return add


def rewrite(*classes: str) -> Callable[[Callable[[Any], nn.Module | None]], Callable[[Any], nn.Module | None]]:
    """Register a function from a submodule to one of pure pieces that computes the same; None leaves it as it is.

    This is how attention becomes layers: what torch computes in one fused call is written out as queries, keys,
    values, scores and their softmax. Applies to the named classes exactly, not to their subclasses, which may compute
    something else; in every network, whatever its family.
    """

    def add(make: Callable[[Any], nn.Module | None]) -> Callable[[Any], nn.Module | None]:
        for name in classes:
            _REWRITES[name] = make
        return make

    return add


def rewritten(module: nn.Module) -> nn.Module | None:
    """The module written out in pure pieces on the same weights, where that is known for its class."""
    _discover()
    cls = type(module)
    make = _REWRITES.get(f"{cls.__module__}.{cls.__qualname__}")
    return make(module) if make is not None else None


def adapter_of(network: nn.Module) -> Adapter:
    """The adapter registered for the network's class or the nearest of its base classes; the plain one if none is."""
    _discover()
    for cls in type(network).__mro__:
        make = _REGISTRY.get(f"{cls.__module__}.{cls.__qualname__}")
        if make is not None:
            return make(network)
    return Adapter()


def logits_of(output: Any) -> Tensor:
    """Class scores from an output of the usual structures: a tensor, a dict, a tuple, or an object with `.logits`.

    Dicts are asked for "logits" and "out" first; a dict, tuple or list otherwise gives its first tensor. Scores
    (N,) of a network with one logit become (N, 1). Of detections it is each class's highest over the boxes.
    """
    if isinstance(output, Detections):
        return output.logits.amax(1)
    if isinstance(output, Mapping):
        named = [output[key] for key in ("logits", "out") if key in output]
        output = next(iter([*named, *output.values()]), None)
    elif hasattr(output, "logits"):
        output = output.logits
    if isinstance(output, (tuple, list)):
        output = next((item for item in output if isinstance(item, Tensor)), None)
    if not isinstance(output, Tensor):
        raise NotApplicable(
            f"the network's output ({type(output).__name__}) holds no class scores that netlens recognizes; "
            "give an Adapter(logits=...) that takes it to a tensor (N, classes)."
        )
    return output[:, None] if output.ndim == 1 else output


def _discover() -> None:
    global _discovered
    with _DISCOVERY:
        if _discovered:
            return
        for point in entry_points(group="netlens.adapters"):
            try:
                point.load()
            except Exception as error:
                warnings.warn(f"adapter {point.name!r} ({point.value}) cannot be loaded: {error}", NetLensWarning, 4)
        _discovered = True
