"""What a method is: a frozen set of options that, called with a network, an image and an objective, explains."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from netlens.attribution.batch import are_copies, owned
from netlens.attribution.engine import all_finite, check_finite, first_bad
from netlens.attribution.recording import recording_of
from netlens.attribution.samples import count_together, mixing, whole_or_singly
from netlens.errors import NetLensError, NonFiniteError, NotApplicable, closest
from netlens.fast.chunks import sized
from netlens.flat import FlatModel
from netlens.flat.grid import grid_of
from netlens.flat.intake import weight_of
from netlens.flat.source import unchanged
from netlens.flat.taps import tapped_visit
from netlens.objectives import Objective
from netlens.options import check, known, named, options_of, parse
from netlens.results import Attribution, Provenance
from netlens.results.attribution import Reduction

METHODS: dict[str, type[Method]] = {}
"""Every registered method by its name on the command line and on `NetLens`, in the order of registration."""

_PART = 64  # a batch beyond this runs in parts

Needs = Literal["attention", "global attention", "pooled maps"]

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
    reads_objective: ClassVar[bool] = True
    """Whether the values depend on the objective at all; those of some methods show what the network looks at."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """The options that hold inputs of which every sample sees all, and none row by row."""
    needs: ClassVar[Needs | None] = None
    """What a network must have for the method to apply: attention, attention among all tokens (not in windows), or maps
    of which a linear classifier reads the mean over space."""

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str = "input") -> Attribution:
        """Explain the objective of each sample of `x` (N, ...) with respect to the input, or to any layer.

        Raises `NotApplicable` where the method has no meaning for the network or layer, and `NonFiniteError` where
        NaN or Inf arises.
        """
        _check_arguments(flat, x, objective)
        flat.follow()
        wrt = flat.key(wrt)
        self.look(flat, x)
        key = self.at(flat, wrt)
        # tensors made under inference_mode take no part in gradients, so there is none inside, wherever the caller is
        with torch.inference_mode(False), torch.no_grad(), unchanged():
            # only under autocast it may be of another type, and there the weights' own is as good
            x = owned(x).to(weight_of(flat, x).dtype)
            objective = objective.settled(flat, x)
            values, diagnostics = whole_or_singly(
                flat,
                x,
                lambda: self._whole(flat, x, objective, wrt),
                lambda: self._singly(flat, x, objective, wrt),
            )
            return Attribution(
                values=values,
                image=picture(flat, x),
                provenance=self.provenance(flat, objective, key, len(x)),
                maps=self.maps(flat, key, values),
                reduction=self.reduction,
                diagnostics=diagnostics,
            )

    def _whole(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Values and diagnostics of a batch, in chunks in which no sample changes what another one gets."""
        with sized(cache(partial(count_together, flat, x, objective))):
            followed = tapped_visit(flat) is not None or recording_of(flat, x) is not None
            apart = len(x) > _PART and objective.splits and not followed and self.plain(flat, wrt)
            size = _PART if apart and not mixing(flat, x) else len(x)
            return self._in_parts(flat, x, objective, wrt, size)

    def _singly(
        self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The same where the network takes one sample only."""
        if len(x) > 1 and not objective.splits:
            raise NotApplicable(f"{objective} is of a whole batch, but {flat.name} takes only one sample at a time.")
        with sized(lambda: 1):
            return self._in_parts(flat, x, objective, wrt, 1)

    def _in_parts(
        self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str, size: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The values of a batch in parts of a size.

        What the method reads at the layers is let go with each part, and only the values grow with the batch.
        """
        values: Tensor | None = None
        notes: dict[str, list[Tensor]] = {}
        for start in range(0, len(x), size):
            rows = range(start, min(start + size, len(x)))
            if len(rows) == len(x):
                whole = _with_diagnostics(self.attribute(flat, x, objective, wrt))
                check_finite(flat, x, objective, whole[0])
                return whole
            part, own = x[start : rows.stop], objective.take(rows)
            some, diagnostics = _with_diagnostics(self.of(rows, len(x)).attribute(flat, part, own, wrt))
            check_finite(flat, part, own, some, start)
            values = some.new_empty(len(x), *some.shape[1:]) if values is None else values
            values[start : rows.stop] = some
            for name, numbers in diagnostics.items():
                notes.setdefault(name, []).append(numbers)
        assert values is not None
        return values, {name: torch.cat(parts) for name, parts in notes.items()}

    @abstractmethod
    def attribute(
        self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The values, and optionally diagnostics of one number per sample."""

    def look(self, flat: FlatModel, x: Tensor) -> None:  # noqa: B027 - most methods have nothing to learn
        """Learn from a batch what `points` and `at` have to know of the network and its layers do not say."""

    def points(self, flat: FlatModel, wrt: str) -> tuple[str, ...]:
        """The layers at which it reads the gradient of a plain run, so that several methods can share that run."""
        return ()

    def of(self, samples: range, n: int) -> Method:
        """The method for these of n samples, with their rows of what its options hold for each."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Method):
                changed[field.name] = value.of(samples, n)
            elif isinstance(value, Tensor) and value.shape[:1] == (n,) and field.name not in self.distributions:
                changed[field.name] = value[samples.start : samples.stop]
        return replace(self, **changed) if changed else self

    def plain(self, flat: FlatModel, wrt: str) -> bool:
        """Whether it has no chunks of its own, so that a large batch is explained in parts."""
        return bool(self.points(flat, wrt))

    def at(self, flat: FlatModel, wrt: str) -> str:
        """The key of the layer that the values lie at, when `wrt` is asked for."""
        return wrt

    def maps(self, flat: FlatModel, key: str, values: Tensor) -> Tensor | None:
        """The values laid out over the image, where their own shape does not say it."""
        if key in flat.inputs:
            return None
        try:
            maps = grid_of(flat, key, values)
        except NotApplicable:
            return None
        return None if maps is values else maps

    def provenance(self, flat: FlatModel, objective: Objective, key: str, n: int) -> Provenance:
        targets, names = objective.named_targets(flat, n)
        return Provenance(
            method=type(self).__name__,
            network=flat.name,
            objective=repr(objective),
            layer=key,
            targets=targets,
            target_names=names,
            options=dict(_options(self)),
        )


named(Method, METHODS)


def method_from(text: str, **given: Any) -> Method:
    """The method of a text such as `integrated_gradients:n_steps=100,baselines=0.5`.

    Args:
        text: A registered name, and after a colon its options as `netlens.options.parse` reads them.
        given: Further options, as values.
    """
    name, _, options = text.partition(":")
    return parse(method_named(name.strip()), options, **given)


def _with_diagnostics(found: Tensor | tuple[Tensor, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
    return found if isinstance(found, tuple) else (found, {})


def configured(method: Method | type[Method] | str, options: dict[str, Any]) -> Method:
    if isinstance(method, Method):
        if options:
            raise NetLensError(f"{next(iter(options))!r} is given beside {method}, which has its own options.")
        return method
    cls = method_named(method) if isinstance(method, str) else method
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise NetLensError(f"a method is a Method, its class or its name, such as 'grad_cam', not {method!r}.")
    known(cls.__name__, options, [option.name for option in options_of(cls)])
    return cls(**options)


def picture(flat: FlatModel, x: Tensor) -> Tensor | None:
    """The explained images in [0, 1], as their preprocessing undone; None where the input is no image."""
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    if are_copies(x):
        one = picture(flat, x[:1])
        return None if one is None else one.expand(len(x), -1, -1, -1)
    image = x.detach().float()
    if x.shape[1] == len(flat.adapter.preprocessing.mean):
        return flat.adapter.preprocessing.denormalize(image).clamp(0, 1)
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    return (image - low) / (high - low).clamp(min=torch.finfo(image.dtype).tiny)


def _options(method: Method) -> Iterator[tuple[str, Any]]:
    for field in fields(method):
        value = getattr(method, field.name)
        yield field.name, {type(value).__name__: dict(_options(value))} if isinstance(value, Method) else value


def _check_arguments(flat: FlatModel, x: Tensor, objective: Objective) -> None:
    if not isinstance(flat, FlatModel):
        raise NetLensError(
            f"a method explains a FlatModel, made by FlatModel.from_nn_Module(network), not {_kind(flat)}."
        )
    if not isinstance(objective, Objective):
        raise NetLensError(f"a method explains an objective such as logit(207), not {_kind(objective)}.")
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) < 1 or not x.is_floating_point():
        got = f"a tensor {tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else _kind(x)
        raise NetLensError(f"a method explains a batch (N, ...) of real numbers, not {got}.")
    if len(flat.inputs) != 1:
        raise NotApplicable(f"methods explain networks of one input; {flat.name} has {', '.join(flat.inputs)}.")
    check_matches(flat, x)
    # torch takes (C, H, W) for one image without complaint, and what follows would mix up channels and samples
    if x.ndim == 3 and nn.Conv2d in (type(step.layer) for step in flat.program.steps if flat.inputs[0] in step.reads):
        raise NetLensError(f"{flat.name} takes images (N, C, H, W), not {tuple(x.shape)}; for one image pass x[None].")
    if not all_finite(x):
        raise NonFiniteError(f"the input holds NaN or Inf in sample {first_bad(x, len(x))}.")


def check_matches(flat: FlatModel, x: Tensor) -> None:
    """Raise if the network cannot take `x` for its type or device, which torch says less clearly."""
    weights = weight_of(flat, x)
    if weights.device != x.device or (weights.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type)):
        raise NetLensError(
            f"the input is {x.dtype} on {x.device}, but {flat.name} is {weights.dtype} on {weights.device}; "
            "bring one to the other with .to(...)."
        )
    if weights is not x and weights.is_inference():
        raise NetLensError(
            f"{flat.name} was made under torch.inference_mode(), where nothing can be differentiated; make it outside."
        )


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
