"""Contestants: the methods that race, cheap and slow ones, and the options of each that are worth a try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from netlens.attribution import Method, Occlusion
from netlens.attribution.cam import cam_layer
from netlens.attribution.method import configured, method_from, name_of
from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation._controls import CONTROLS
from netlens.flat import FlatModel
from netlens.options import options_of, spelled
from netlens.rules.composites import EpsilonGammaBox
from netlens.survey import usual_layers

CHEAP = (
    *("saliency", "input_x_gradient", "guided_backprop", "integrated_gradients", "deep_lift", "lrp"),
    *("excitation_backprop", "cam", "grad_cam", "hi_res_cam", "layer_cam", "eigen_cam", "guided_grad_cam"),
    *("full_grad", "attention_rollout", "gradient_rollout", "le_grad"),
)
"""Methods that take at most some 50 runs of the network. They race first."""

SLOW = ("smooth_gradient", "gradient_shap", "blur_integrated_gradients", "occlusion", "feature_ablation")
"""Methods that take 50 to some hundred runs. Methods that take thousands race only if somebody names them."""

OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "baselines": (0.0, "blur", "mean", "black"),
    "noise_level": (0.05, 0.1, 0.15, 0.3),
    "composite": (
        *("epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box"),
        *(EpsilonGammaBox(gamma=0.1), EpsilonGammaBox(gamma=1.0)),
    ),
    "n_segments": (25, 50, 100),
}
"""The values of an option that are worth a try, for each method that has such an option."""

LAYERS = 4
"""How many layers of class activation maps are tried."""


@dataclass(frozen=True, eq=False)
class Contestant:
    """A method with its options, by one name.

    Args:
        name: Its text on the command line, such as `occlusion:window=16`; the class of a control.
        method: The method.
        is_control: Whether it knows nothing of the network.
    """

    name: str
    method: Method
    is_control: bool


def text_of(method: Method) -> str:
    """A method as the text that the command line takes, with the options that differ from their defaults.

    >>> text_of(Occlusion(window=16))
    'occlusion:window=16'
    """
    changed = options_that_differ(method)
    name = name_of(type(method))
    return f"{name}:{','.join(f'{key}={spelled(value)}' for key, value in changed.items())}" if changed else name


def options_that_differ(method: Method) -> dict[str, Any]:
    """The options of a method that are not at their defaults."""
    values = {one.name: (getattr(method, one.name), one.default) for one in options_of(type(method))}
    return {name: value for name, (value, usual) in values.items() if value is not usual and not _equal(value, usual)}


def _equal(value: Any, usual: Any) -> bool:
    return type(value) is type(usual) and bool(value == usual)


def controls() -> list[Contestant]:
    """The controls, which know nothing of the network."""
    return [Contestant(control.__name__, control(), True) for control in CONTROLS]


def contestants(methods: Sequence[Method | type[Method] | str] | None) -> tuple[list[Contestant], list[Contestant]]:
    """The methods that race: first the cheap ones, then the slow ones.

    Args:
        methods: Methods, their classes, or texts such as `occlusion:window=16`; None for the usual ones.

    Raises:
        NetLensError: A method is unknown, or two are the same.
    """
    sources = (*CHEAP, *SLOW) if methods is None else methods
    chosen = [method_from(one) if isinstance(one, str) else configured(one, {}) for one in sources]
    every = [Contestant(text_of(one), one, False) for one in chosen]
    names = [one.name for one in every]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise NetLensError(f"{double} is given twice; a race has each method once.")
    if not every:
        raise NetLensError("methods names no method; give some, or None for the usual ones.")
    cheap = [one for one in every if name_of(type(one.method)) in CHEAP]
    return cheap, [one for one in every if one not in cheap]


def variants(one: Contestant, flat: FlatModel, side: int) -> list[Contestant]:
    """The other options of a method that are worth a try: each combination of the values in question.

    Args:
        one: The method.
        flat: The network, for its layers.
        side: The shorter side of the images, for windows.
    """
    names = [option.name for option in options_of(type(one.method))]
    choices: dict[str, Sequence[Any]] = {name: OPTIONS[name] for name in names if name in OPTIONS}
    if "layer" in names:
        choices["layer"] = (getattr(one.method, "layer", None), *_layers(flat))
    if isinstance(one.method, Occlusion):  # a stride of half a window covers each pixel four times
        choices = {"baselines": (0.0, "blur"), "window": sorted({max(2, side // share) for share in (8, 4)})}
    others: dict[str, Contestant] = {}
    for values in product(*choices.values()):
        options = dict(zip(choices, values, strict=True))
        if "window" in options:
            options["stride"] = max(1, options["window"] // 2)
        try:
            method = replace(one.method, **options)
        except NetLensError:  # not each method takes each value of an option: some baselines are numbers alone
            continue
        others.setdefault(text_of(method), Contestant(text_of(method), method, False))
    others.pop(one.name, None)
    return list(others.values())


def _layers(flat: FlatModel) -> tuple[str, ...]:
    """The last layers of some blocks, without the one that class activation maps read by default."""
    try:
        usual = cam_layer(flat)
    except NotApplicable:  # the method is refused as well, unless it is given a layer
        usual = ""
    return tuple(name for name in usual_layers(flat, LAYERS) if flat.key(name) != usual)
