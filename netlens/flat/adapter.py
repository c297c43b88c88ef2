"""Adapters: facts about families of networks that their code does not show. The class of a network selects one."""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from torch import Tensor, nn

from netlens.classes import ClassNames
from netlens.errors import NetLensWarning, NotApplicable
from netlens.preprocessing import IMAGENET, Preprocessing


@dataclass(frozen=True)
class Adapter:
    """Facts about a family of networks that their code does not show. The defaults suit a plain CNN.

    Args:
        cam_layer: The key or path of the layer that class activation maps read; None for the automatic choice.
        preprocessing: How an image becomes the input of the network.
        logits: A function from the output, in the network's own structure, to class scores (N, classes) or maps of
            them (N, classes, h, w); None for `logits_of`.
        detections: For a detector, a function from the output, in the network's own structure, and the height and width
            of the input to the `Detections` of all candidate boxes; None if the network is no detector.
        grid: A function from (flat, layer key, activation) to maps (N, C, h, w), or to None if the positions of the
            layer do not lie on the image.
        windows: A function from (flat, key of an attention map) to the key of the layer that cuts a map (N, h, w, C)
            into windows, if tokens attend only within their window; or to None if each token attends to all tokens.
        classes: The names of the classes that networks of this family usually predict.
        background: The index of the class that means "nothing of interest". It is never the default target.
        unwrap: A function from the network (a twin) and the images to be explained (or None) to the module that is
            unrolled in its place. It is needed if the forward of the network is not a function of a batch of images.
        example: The shape of an input, such as (1, 3, 224, 224). The network is unrolled along random numbers of this
            shape if no example is given; None to unroll without an example then.

    Example:
        >>> Adapter(cam_layer="stages.3").cam_layer
        'stages.3'
    """

    cam_layer: str | None = None
    preprocessing: Preprocessing = IMAGENET
    logits: Callable[[Any], Tensor] | None = None
    detections: Callable[[Any, tuple[int, int]], Detections] | None = None
    grid: Callable[..., Tensor | None] | None = None
    windows: Callable[..., str | None] | None = None
    classes: ClassNames | None = None
    background: int | None = None
    unwrap: Callable[[nn.Module, Tensor | None], nn.Module] | None = None
    example: tuple[int, ...] | None = None


class Detections(NamedTuple):
    """The predictions of a detector for all A candidate boxes, before it drops most of them.

    Attributes:
        boxes: (N, A, 4), each (x0, y0, x1, y1) in pixels of the input; or (N, A, classes, 4), one box for each class.
        logits: (N, A, classes), before the softmax or sigmoid.
        scores: (N, A, classes), as the detector reports them.
    """

    boxes: Tensor
    logits: Tensor
    scores: Tensor


REGISTRY: dict[str, Callable[[nn.Module], Adapter]] = {}
BY_ATTRIBUTES: dict[tuple[str, ...], Callable[[nn.Module], Adapter]] = {}
REWRITES: dict[str, Callable[[Any], nn.Module | None]] = {}
_discovered = False
_DISCOVERY = threading.RLock()  # a second thread waits until all adapters are loaded


def register(
    *classes: str, having: Sequence[str] = ()
) -> Callable[[Callable[[nn.Module], Adapter]], Callable[[nn.Module], Adapter]]:
    """Register a function from a network to its `Adapter`.

    If several adapters fit a network, each says what the adapters before it leave open: first that of its class, then
    those of the base classes, then those of attributes.

    If your package holds adapters, it declares an entry point in the group `netlens.adapters`. The entry point names
    the module that registers them.

    Args:
        *classes: Qualified names of network classes. Subclasses count, too. The names are strings, so that an adapter
            for a library does not import that library.
        having: Names of attributes. The adapter fits each network that has all of them. It is for libraries whose
            networks have no base class in common.

    Returns:
        A decorator for the function.

    Example:
        >>> @register("mypackage.models.MyNet")
        ... def mynet(network):
        ...     return Adapter(cam_layer="stages.3")
    """

    def add(make: Callable[[nn.Module], Adapter]) -> Callable[[nn.Module], Adapter]:
        for name in classes:
            REGISTRY[name] = make
        if having:
            BY_ATTRIBUTES[tuple(having)] = make
        return make

    return add


def rewrite(*classes: str) -> Callable[[Callable[[Any], nn.Module | None]], Callable[[Any], nn.Module | None]]:
    """Register a function that rewrites submodules of a class into pure pieces, in networks of all families.

    For example, torch computes attention in one fused call. The rewritten module computes queries, keys, values, scores
    and their softmax one after the other, so that each of them becomes a layer.

    Args:
        *classes: Qualified names of module classes. Subclasses do not count, because they may compute something else.

    Returns:
        A decorator for the function. The function takes a submodule and returns a module that computes the same, or
        None if the submodule stays unchanged.

    Example:
        >>> @rewrite("mypackage.models.MyAttention")
        ... def leave(module):
        ...     return None
    """

    def add(make: Callable[[Any], nn.Module | None]) -> Callable[[Any], nn.Module | None]:
        for name in classes:
            REWRITES[name] = make
        return make

    return add


def rewritten(module: nn.Module) -> nn.Module | None:
    """The module, rewritten into pure pieces that share its weights. None if no rewrite exists for its class."""
    _discover()
    cls = type(module)
    make = REWRITES.get(f"{cls.__module__}.{cls.__qualname__}")
    return make(module) if make is not None else None


def adapter_of(network: nn.Module) -> Adapter:
    """What the registered adapters that fit a network say together; the plain adapter if none fits."""
    _discover()
    adapter = Adapter()
    for make in _makers(network):
        other = make(network)
        # a fact that is still as in the plain adapter is open
        is_open = [field.name for field in fields(Adapter) if getattr(adapter, field.name) == field.default]
        adapter = replace(adapter, **{name: getattr(other, name) for name in is_open})
    return adapter


def _makers(network: nn.Module) -> Iterator[Callable[[nn.Module], Adapter]]:
    """The functions that make the adapters of a network, from the most to the least special."""
    for cls in type(network).__mro__:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name in REGISTRY:
            yield REGISTRY[name]
    for names, make in BY_ATTRIBUTES.items():
        if all(hasattr(network, name) for name in names):
            yield make


def logits_of(output: Any) -> Tensor:
    """Read class scores from an output of one of the usual structures.

    Args:
        output: One of these: a tensor; an object with the attribute `logits`; a dict (its entry "logits", else "out",
            else its first value); a tuple or list (its first tensor); `Detections`.

    Returns:
        Scores (N, classes), or maps of scores (N, classes, h, w). If the network has a single logit, scores (N,) become
        (N, 1). For detections, the score of a class is its highest logit over all boxes.

    Raises:
        NotApplicable: The output holds no tensor.

    Example:
        >>> import torch
        >>> logits_of({"logits": torch.zeros(2, 3), "aux": torch.zeros(2)}).shape
        torch.Size([2, 3])
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
            "give an Adapter(logits=...) with a function from the output to a tensor (N, classes)."
        )
    return output[:, None] if output.ndim == 1 else output


def _discover() -> None:
    global _discovered
    with _DISCOVERY:
        if _discovered:
            return
        importlib.import_module(
            "netlens.adapters"
        )  # the adapters of netlens; entry points name the adapters of other packages
        for point in entry_points(group="netlens.adapters"):
            try:
                point.load()
            except Exception as error:
                warnings.warn(f"adapter {point.name!r} ({point.value}) cannot be loaded: {error}", NetLensWarning, 4)
        _discovered = True
