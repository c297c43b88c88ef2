"""What a method is: a frozen set of options that, called with a network, an image and an objective, explains."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from netlens.attribution._finite import check_finite
from netlens.attribution._nothing import note_nothing
from netlens.attribution._picture import picture as picture  # also for the rooms above
from netlens.attribution._positions import channels_first, has_maps
from netlens.attribution._run import shared_run
from netlens.attribution.batch import without_graph
from netlens.attribution.mixing import count_together, mixing
from netlens.attribution.singly import whole_or_singly
from netlens.errors import NetLensError, NotApplicable, closest
from netlens.fast.chunks import sized
from netlens.flat import FlatModel
from netlens.flat.bundle import is_input, key_of, layout_at
from netlens.flat.grid import grid_of
from netlens.flat.intake import check_fits, weight_of
from netlens.flat.running import tapped_visit
from netlens.flat.tracing import unchanged
from netlens.heatmaps import Reduction
from netlens.objectives import Objective
from netlens.options import check, check_names, named, options_of, parse, snake_case
from netlens.results import Attribution, Provenance

METHODS: dict[str, type[Method]] = {}
"""Every registered method by its name on the command line and on `NetLens`, in the order of registration."""

_PART = 64  # samples; a larger batch runs in parts

Needs = Literal["attention", "global attention", "pooled maps"]

M = TypeVar("M", bound="type[Method]")


def register(method: M) -> M:
    """Register a method under its class name in snake case, for `NetLens`, the command line and the shared tests.

    Args:
        method: A subclass of `Method`. It replaces a registered method with the same name.

    Returns:
        The same class, so that this is a decorator.

    Example:
        >>> from netlens.attribution import Saliency
        >>> @register
        ... class MySaliency(Saliency): ...
        >>> METHODS.pop("my_saliency") is MySaliency  # it is taken out again here
        True
    """
    METHODS[name_of(method)] = method
    return method


def name_of(method: type[Method]) -> str:
    """The name under which the class of a method is registered.

    >>> class GuidedGradCAM: ...
    >>> name_of(GuidedGradCAM)
    'guided_grad_cam'
    """
    return snake_case(method.__name__)


def method_named(name: str) -> type[Method]:
    """The registered method of that name.

    Args:
        name: The name in snake case, such as "grad_cam".

    Raises:
        NetLensError: There is no such method. The message names the closest ones.

    Example:
        >>> method_named("grad_cam").__name__
        'GradCAM'
    """
    if name not in METHODS:
        as_written = re.sub("[^a-z0-9]+", "_", name.lower())  # "Grad-CAM" means grad_cam
        raise NetLensError(f"there is no method {name!r}. Closest: {closest(as_written, METHODS)}.")
    return METHODS[name]


@dataclass(frozen=True)
class Method(ABC):
    """Abstract: an attribution method. Its fields are its options, and `attribute` is its whole algorithm.

    A method defines `attribute`. Of the rest, it defines what differs from the default:

    | name                | says                                                                    | default       |
    |---------------------|-------------------------------------------------------------------------|---------------|
    | `attribute(...)`    | the values, and numbers that show how good they are                     | none          |
    | `points(...)`       | the layers whose plain gradient it reads; methods can share that run    | no layers     |
    | `at(...)`           | the layer whose values it gives                                         | `wrt`         |
    | `settled(...)`      | itself, with the choices made that depend on the objective              | itself        |
    | `reduction`         | how a heatmap makes one number per position of the values               | `"magnitude"` |
    | `gives_maps`        | whether the values are maps over the image, whatever `wrt` is           | `False`       |
    | `reads_objective`   | whether the values depend on the objective                              | `True`        |
    | `needs`             | what a network must have                                                | `None`        |
    | `distributions`     | the options that hold inputs for all samples, not one row per sample    | `()`          |
    | `in_parts`          | whether a large batch runs in parts although the method has no `points` | `False`       |

    `attribute` takes (flat, x, objective, wrt); `points` and `at` take (flat, x, wrt). The batch x fits the network.
    `wrt` is the exact key of a layer or of the input. A call checks the arguments before, and the values after.
    """

    reduction: ClassVar[Reduction] = "magnitude"
    """How a heatmap makes one number per position of the values."""
    gives_maps: ClassVar[bool] = False
    """Whether the values are maps (N, 1, h, w) over the image, whatever `wrt` is."""
    reads_objective: ClassVar[bool] = True
    """Whether the values depend on the objective. Some methods show what the network looks at, whatever the class."""
    linear: ClassVar[bool] = False
    """Whether the values are linear in the objective: those of 2f - g are twice those of f, less those of g."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """The options that hold a distribution of inputs. Every sample uses the whole distribution, not one row of it."""
    needs: ClassVar[Needs | None] = None
    """What a network must have so that the method applies: attention; attention among all tokens (not in windows); or
    maps whose mean over space a linear classifier reads."""
    in_parts: ClassVar[bool] = False
    """Whether a large batch runs in parts because the method makes no chunks itself. With `points`, it always does."""

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str = "input") -> Attribution:
        """Explain the objective of each sample with respect to the input or to any layer.

        Args:
            flat: The network.
            x: The samples (N, ...), of the type and on the device of the network.
            objective: What to explain, one number per sample.
            wrt: "input", the name of an input if there are several, or any name of a layer.

        Raises:
            NotApplicable: The method has no meaning for the network or the layer.
            NonFiniteError: The input, an activation or a value is NaN or Inf.
        """
        _check_arguments(flat, x, objective)
        flat = flat.fitting(x[:1])  # one sample, because samples may run together or one by one
        wrt = key_of(flat, wrt)
        # a tensor that is made under inference_mode has no gradient, so the caller's inference_mode ends here
        with torch.inference_mode(False), torch.no_grad(), unchanged():
            # the type differs from that of the weights only under autocast, where the type of the weights is as good
            x = without_graph(x).to(weight_of(flat, x).dtype)
            # first, because a settled objective reads nothing of the input any more, such as its size
            objective = objective.settled(flat, x)
            method = self.settled(flat, x, objective, wrt)
            key = method.at(flat, x, wrt)
            values, diagnostics = whole_or_singly(
                flat,
                x,
                lambda: method._whole(flat, x, objective, wrt),
                lambda: method._singly(flat, x, objective, wrt),
            )
            diagnostics = note_nothing(
                type(self).__name__, objective, key, values, diagnostics, bool(getattr(self, "relu", False))
            )
            return Attribution(
                values=values,
                image=picture(flat, x, key),
                provenance=_provenance(self, flat, objective, key, len(x)),
                maps=None if self.gives_maps else _maps(flat, key, values, x),
                reduction=self.reduction,
                diagnostics=diagnostics,
            )

    def _whole(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The values and diagnostics of a batch, in chunks in which no sample changes the values of another sample."""
        with sized(cache(partial(count_together, flat, x, objective))):
            size = _PART if len(x) > _PART and self._divides(flat, x, objective, wrt) else len(x)
            return self._in_parts(flat, x, objective, wrt, size)

    def _divides(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> bool:
        """Whether the batch is explained in parts: nothing needs it whole, and the method makes no chunks itself."""
        if tapped_visit(flat) is not None or shared_run(flat, x) is not None or not objective.splits:
            return False
        return (self.in_parts or bool(self.points(flat, x, wrt))) and not mixing(flat, x)

    def _singly(
        self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The values and diagnostics of a batch, for a network that takes only one sample at a time."""
        if len(x) > 1 and not objective.splits:
            raise NotApplicable(f"{objective} needs a whole batch, but {flat.name} takes only one sample at a time.")
        with sized(lambda: 1):
            return self._in_parts(flat, x, objective, wrt, 1)

    def _in_parts(
        self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str, size: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The values and diagnostics of a batch, in parts of `size` samples.

        The activations and gradients of a part are freed before the next part, so only the values grow with the batch.
        """
        values: Tensor | None = None
        diagnostics_of_parts: dict[str, list[Tensor]] = {}
        for start in range(0, len(x), size):
            rows = range(start, min(start + size, len(x)))
            if len(rows) == len(x):
                whole = _with_diagnostics(self.attribute(flat, x, objective, wrt))
                check_finite(flat, x, objective, whole[0])
                return whole
            part, objective_of_part = x[start : rows.stop], objective.take(rows)
            values_of_part, diagnostics = _with_diagnostics(
                _of_samples(self, rows, len(x)).attribute(flat, part, objective_of_part, wrt)
            )
            check_finite(flat, part, objective_of_part, values_of_part, start)
            values = values_of_part.new_empty(len(x), *values_of_part.shape[1:]) if values is None else values
            values[start : rows.stop] = values_of_part
            for name, numbers in diagnostics.items():
                diagnostics_of_parts.setdefault(name, []).append(numbers)
        assert values is not None
        return values, {name: torch.cat(parts) for name, parts in diagnostics_of_parts.items()}

    @abstractmethod
    def attribute(
        self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The values (N, ...), and optionally diagnostics (N,) by name."""

    def points(self, flat: FlatModel, x: Tensor, wrt: str) -> tuple[str, ...]:
        """The layers whose gradient the method reads in a plain run, so that several methods can share that run."""
        return ()

    def settled(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Method:
        """The method after the choices that depend on the objective, such as the layer that it reads by default."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Method):
                chosen = value.settled(flat, x, objective, wrt)
                if chosen is not value:
                    changed[field.name] = chosen
        return replace(self, **changed) if changed else self

    def at(self, flat: FlatModel, x: Tensor, wrt: str) -> str:
        """The key of the layer whose values the method gives when it is called with `wrt`."""
        return wrt


named(Method, METHODS)


def method_from(text: str, **values: Any) -> Method:
    """The method that a text names, such as `integrated_gradients:n_steps=100,baselines=blur`.

    Args:
        text: A registered name, and after a colon its options as `netlens.options.parse` reads them.
        values: Values of further options.

    >>> method_from("saliency")
    Saliency()
    """
    name, _, options = text.partition(":")
    return parse(method_named(name.strip()), options, **values)


def _with_diagnostics(result: Tensor | tuple[Tensor, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
    return result if isinstance(result, tuple) else (result, {})


def configured(method: Method | type[Method] | str, options: dict[str, Any]) -> Method:
    """The method that an instance, a class or a name stands for, with options. An instance takes no further options."""
    if isinstance(method, Method):
        if options:
            raise NetLensError(
                f"{method} has its options already, so it takes no {next(iter(options))!r}; set it in the method."
            )
        return method
    cls = method_named(method) if isinstance(method, str) else method
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise NetLensError(f"a method is a Method, its class or its name, such as 'grad_cam', not {method!r}.")
    names = [option.name for option in options_of(cls)]
    if "layer" in options and "layer" not in names:
        raise NetLensError(
            f"{cls.__name__} has no option 'layer'; the layer that it explains is wrt={options['layer']!r}."
        )
    check_names(cls.__name__, options, names)
    return cls(**options)


def _of_samples(method: Method, samples: range, n: int) -> Method:
    """The method for some of n samples. An option that holds one row per sample keeps the rows of these samples."""
    changed: dict[str, Any] = {}
    for field in fields(method):
        value = getattr(method, field.name)
        if isinstance(value, Method):
            changed[field.name] = _of_samples(value, samples, n)
        elif isinstance(value, Tensor) and value.shape[:1] == (n,) and field.name not in method.distributions:
            changed[field.name] = value[samples.start : samples.stop]
    return replace(method, **changed) if changed else method


def _maps(flat: FlatModel, key: str, values: Tensor, x: Tensor) -> Tensor | None:
    """The values as maps over the image. None if they are such maps already, or have no positions in the image."""
    if is_input(flat, key):
        if not values.is_floating_point() or not has_maps(flat, key, values):
            return None
        maps = channels_first(values, layout_at(flat, key, values).positions)
        return None if maps.shape == values.shape and maps.stride() == values.stride() else maps
    try:
        maps = grid_of(flat, key, values, x)
    except NotApplicable:
        return None
    return None if maps is values else maps


def _provenance(method: Method, flat: FlatModel, objective: Objective, key: str, n: int) -> Provenance:
    """How the values of n samples at `key` were made."""
    targets, names = objective.named_targets(flat, n)
    return Provenance(
        method=type(method).__name__,
        network=flat.name,
        objective=repr(objective),
        layer=key,
        targets=targets,
        target_names=names,
        options=dict(_options(method)),
    )


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
    check_fits(flat, x)


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
