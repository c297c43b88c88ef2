"""Provenance: the method, the options and the versions with which a result was computed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netlens.version import __version__


@cache
def _versions() -> Mapping[str, str]:
    torchvision = metadata.version("torchvision")  # torchvision.__version__ would import all of torchvision
    return {"netlens": __version__, "torch": str(torch.__version__), "torchvision": torchvision}


def _describe(option: object) -> Any:
    """A description of an option that JSON cannot hold: the type and shape of an array, or else its `repr`."""
    if isinstance(option, np.generic):  # a number of numpy's
        return option.item()
    return f"{type(option).__name__}{tuple(option.shape)}" if isinstance(option, Tensor | np.ndarray) else repr(option)


@dataclass(frozen=True)
class Provenance:
    """Everything that is needed to compute a result again.

    It is equal to its copy in a file, because options are stored as values of JSON: lists, and no tuples.

    Args:
        method: The class name of the method, or a formula of class names.
        network: The name of the network.
        objective: The `repr` of the objective.
        layer: The layer whose contributions the result holds.
        targets: (N,), the class of each sample; None if the objective has no class.
        target_names: (N,), the names of these classes; None if they have no names.
        options: The options of the method.
        precision: The type to which products were rounded; None for the network's own type.
        versions: The versions of netlens, torch and torchvision.

    Example:
        >>> origin = Provenance("Occlusion", "resnet50", "logit(207)", targets=(207,), options={"window": (32, 32)})
        >>> origin.options, Provenance.from_dict(asdict(origin)) == origin
        ({'window': [32, 32]}, True)
    """

    method: str
    network: str
    objective: str
    layer: str = "input"
    targets: tuple[int, ...] | None = None
    target_names: tuple[str, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str | None = None
    versions: Mapping[str, str] = field(default_factory=_versions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", json.loads(json.dumps(dict(self.options), default=_describe)))
        object.__setattr__(self, "versions", dict(self.versions))
        if self.targets is not None:
            object.__setattr__(self, "targets", tuple(int(target) for target in self.targets))
        if self.target_names is not None:
            object.__setattr__(self, "target_names", tuple(self.target_names))

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Provenance:
        """The inverse of `asdict(provenance)`. It ignores fields of later versions."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in saved.items() if name in names})

    def of(self, samples: slice) -> Provenance:
        """The provenance of a slice of the samples."""
        targets = None if self.targets is None else self.targets[samples]
        return replace(
            self, targets=targets, target_names=None if self.target_names is None else self.target_names[samples]
        )

    def subject(self, sample: int) -> str:
        """A short name for the explanation of a sample: the first name of its class, its number, or the objective."""
        if self.target_names is not None:
            return self.target_names[sample].split(",")[0]
        if self.targets is not None:
            return f"class {self.targets[sample]}"
        return self.objective

    def renamed(self, form: str) -> Provenance:
        """The provenance with another method, by a form such as `0.5 * {}`. A formula gets brackets."""
        return replace(self, method=form.format(f"({self.method})" if " " in self.method else self.method))

    def joined(self, sign: str, other: Provenance) -> Provenance:
        """The provenance of a sum or difference. Equal fields stay; different fields become a formula.

        Example:
            >>> cat, dog = (Provenance("GradCAM", "vgg16", f"logit({i})", targets=(i,)) for i in (281, 207))
            >>> cat.joined("-", dog).method, cat.joined("-", dog).objective
            ('GradCAM - GradCAM', 'logit(281) - logit(207)')
        """
        names = None
        if self.target_names is not None and other.target_names is not None:
            pairs = zip(self.target_names, other.target_names, strict=True)
            names = tuple(_shared(left, sign, right) for left, right in pairs)
        return Provenance(
            method=_join(self.method, sign, other.method),
            network=_shared(self.network, sign, other.network),
            objective=_shared(self.objective, sign, other.objective),
            layer=_shared(self.layer, sign, other.layer),
            targets=self.targets if self.targets == other.targets else None,
            target_names=names,
            options={"left": asdict(self), "right": asdict(other)},
            precision=_precision(self.precision, sign, other.precision),
        )


def _join(left: str, sign: str, right: str) -> str:
    return f"{left} {sign} ({right})" if {"+", "-"} & set(right.split()) else f"{left} {sign} {right}"


def _precision(left: str | None, sign: str, right: str | None) -> str | None:
    return None if left is None and right is None else _shared(left or "full", sign, right or "full")


def _shared(left: str, sign: str, right: str) -> str:
    return left if left == right else _join(left, sign, right)
