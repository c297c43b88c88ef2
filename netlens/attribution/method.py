"""What a method is: a frozen set of options that, called with a network, an image and an objective, explains."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from netlens.attribution.engine import check_finite
from netlens.errors import NetLensError, NonFiniteError, NotApplicable, closest
from netlens.flat import FlatModel
from netlens.flat.adapter import grid_of
from netlens.objectives import Objective
from netlens.results import Attribution, Provenance
from netlens.results.attribution import Reduction

METHODS: dict[str, type[Method]] = {}
"""Every registered method by its name on the command line and on `NetLens`, in the order of registration."""

M = TypeVar("M", bound="type[Method]")


def register(method: M) -> M:
    """Make a method known to `NetLens`, the command line and the shared tests, by its class name in snake case."""
    METHODS[name_of(method)] = method
    return method


def name_of(method: type[Method]) -> str:
    """The registered name of a method's class.

    >>> class GuidedGradCAM: ...
    >>> name_of(GuidedGradCAM)
    'guided_grad_cam'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", method.__name__).lower()


def method_named(name: str) -> type[Method]:
    """The registered method of that name; an unknown one raises with the closest names."""
    if name not in METHODS:
        raise NetLensError(f"there is no method {name!r}. Closest: {closest(name, METHODS)}.")
    return METHODS[name]


@dataclass(frozen=True)
class Method(ABC):
    """Abstract: an attribution method. Its fields are its options; `attribute` is its whole algorithm."""

    reduction: ClassVar[Reduction] = "magnitude"

    def __call__(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str = "input") -> Attribution:
        """Explain the objective of each sample of `x` (N, ...) with respect to the input, or to any layer.

        Raises `NotApplicable` where the method has no meaning for the network or layer, and `NonFiniteError` where
        NaN or Inf arises.
        """
        _check_input(x)
        key = flat.key(self.at(flat, wrt))
        values = self.attribute(flat, x, objective, key)
        diagnostics: Mapping[str, Tensor] = {}
        if isinstance(values, tuple):
            values, diagnostics = values
        check_finite(flat, x, f"{type(self).__name__} of {objective}", values)
        return Attribution(
            values=values.detach(),
            image=picture(flat, x),
            provenance=self.provenance(flat, objective, key, len(x)),
            maps=self.maps(flat, key, values),
            reduction=self.reduction,
            diagnostics=diagnostics,
        )

    @abstractmethod
    def attribute(
        self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The values, and optionally diagnostics of one number per sample."""

    def at(self, flat: FlatModel, wrt: str) -> str:
        """What the values are with respect to, when `wrt` is asked for."""
        return wrt

    def maps(self, flat: FlatModel, key: str, values: Tensor) -> Tensor | None:
        """The values laid out over the image, where their own shape does not say it."""
        if key in flat.inputs:
            return None
        try:
            maps = grid_of(flat, key, values)
        except NotApplicable:
            return None
        return None if maps is values else maps.detach()

    def provenance(self, flat: FlatModel, objective: Objective, key: str, n: int) -> Provenance:
        targets = objective.targets(flat, n)
        named = targets is not None and flat.classes is not None
        return Provenance(
            method=type(self).__name__,
            network=flat.name,
            objective=repr(objective),
            layer=key,
            targets=targets,
            target_names=tuple(flat.classes[t] for t in targets) if named else None,  # type: ignore[index, union-attr]
            options=dict(_options(self)),
        )


def picture(flat: FlatModel, x: Tensor) -> Tensor | None:
    """The explained images in [0, 1], as their preprocessing undone; None where the input is no image."""
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    image = x.detach().float()
    if x.shape[1] == len(flat.adapter.preprocessing.mean):
        return flat.adapter.preprocessing.denormalise(image).clamp(0, 1)
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    return (image - low) / (high - low).clamp(min=torch.finfo(image.dtype).tiny)


def _options(method: Method) -> Iterator[tuple[str, Any]]:
    for field in fields(method):
        value = getattr(method, field.name)
        yield field.name, {type(value).__name__: dict(_options(value))} if isinstance(value, Method) else value


def _check_input(x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.ndim < 2 or not x.is_floating_point():
        got = f"a tensor {tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise NetLensError(f"a method explains a batch (N, ...) of real numbers, not {got}.")
    if not torch.isfinite(x).all():
        sample = int((~torch.isfinite(x)).flatten(1).any(1).nonzero()[0])
        raise NonFiniteError(f"the input holds NaN or Inf in sample {sample}.")
