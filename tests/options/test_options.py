"""Laws of options: each has help, its default passes its own check, what is out of bounds is refused, texts are read.

`python -m tests.options.test_options` writes the tables of options in the pages of `DESCRIBED` anew.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import netlens
from benchmarks.tables import write_between
from netlens.attribution import METHODS, Attribution, FinerCAM, Method, SmoothGradient, method_from
from netlens.cli import main
from netlens.errors import NetLensError
from netlens.fast.regions import Work
from netlens.flat import Rule, Rules
from netlens.flat.running import Step
from netlens.lens import NetLens
from netlens.objectives import Contextual, SlicedWasserstein, logit
from netlens.options import Option, check, checked, option, options_of, parse, read, spelled, split, table
from netlens.playground import Studio
from netlens.preprocessing import Preprocessing
from netlens.results import Provenance
from netlens.rules import COMPOSITES
from netlens.show import Tile
from netlens.studies import Attributions
from netlens.survey import (
    ChannelPeaks,
    ChannelStatistics,
    Predictions,
    RandomSample,
    Statistics,
    Survey,
    SurveyResult,
    TopK,
)
from netlens.visualization import (
    Caricaturing,
    Charting,
    Dreaming,
    Inverting,
    NetDreamer,
    Zooming,
    transforms,
)
from netlens.visualization.params import PARAMS, Alpha, FromImage, Shared
from netlens.visualization.style import Outcome, StyleTransfer
from netlens.visualization.transforms import View
from netlens.zoo import open_network

DOCS = Path(__file__).parents[2] / "docs"


def declaring() -> Iterator[type]:
    """Every dataclass of netlens with an option, that can be made."""
    for module in iter_modules():
        for cls in vars(module).values():
            local = isinstance(cls, type) and cls.__module__ == module.__name__
            if local and is_dataclass(cls) and not isabstract(cls) and any(one.help for one in options_of(cls)):
                yield cls


def iter_modules() -> Iterator[ModuleType]:
    for info in walk_packages(netlens.__path__, "netlens."):
        if "adapters" not in info.name and not info.name.endswith("__main__"):
            yield import_module(info.name)


CLASSES = list(dict.fromkeys([*declaring(), *METHODS.values(), *PARAMS.values()]))
TRANSFORMS = [cls for cls in CLASSES if issubclass(cls, transforms.Transform)]
OTHERS = [StyleTransfer, Dreaming, Zooming, Inverting, Caricaturing, Charting, NetDreamer, FromImage, Shared]
STATISTICS = [SlicedWasserstein, Contextual]
DESCRIBED: dict[str, Mapping[str, type]] = {
    "methods.md": METHODS,
    "rules.md": COMPOSITES,
    "visualization.md": {cls.__name__: cls for cls in (*OTHERS, *STATISTICS, *PARAMS.values(), *TRANSFORMS)},
}
# what an option without a default is given, so that another one can be looked at
NEEDED: dict[type, dict[str, Any]] = {
    transforms.Jitter: {"pixels": 4},
    transforms.Pad: {"pixels": 4},
    transforms.CenterCrop: {"pixels": 4},
    transforms.RandomCrop: {"size": 8},
    transforms.Fit: {"size": (8, 8)},
    Alpha: {"param": PARAMS["pixel"](8)},
    Shared: {"param": PARAMS["pixel"](8)},
    Preprocessing: {"size": None, "resize": None, "mean": (0.5,), "std": (0.5,)},
    **{question: {"layer": "stem"} for question in (Attributions, ChannelStatistics, RandomSample, TopK)},
}
# an image or a network is read when the class is made
Tiled = next(cls for cls in CLASSES if cls.__name__ == "Tiled")  # private to its room
MADE = [cls for cls in CLASSES if cls not in (FromImage, NetDreamer, Survey, Tiled)]
# what netlens makes to hold results, rules and work; nobody gives them options
HOLDING = {Attribution, ChannelPeaks, Provenance, Rule, Rules, Statistics, Step, Studio, SurveyResult, Work}
HOLDING |= {Outcome, Tile, View}
EACH = [(cls, one) for cls in CLASSES for one in options_of(cls)]


def named(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else getattr(value, "name", repr(value))


def numbers_beyond(one: Option) -> Iterator[float]:
    """Numbers just outside the bounds of an option."""
    limits = one.limits
    if limits.least is not None:
        yield limits.least - 1
    if limits.most is not None:
        yield limits.most + 1
    if limits.above is not None:
        yield limits.above
    if limits.below is not None:
        yield limits.below


@dataclass(frozen=True)
class Weighted:
    """An option whose upper bound only keeps mistakes out."""

    weight: float = option(1.0, least=0, most=10**12, help="A weight.")

    def __post_init__(self) -> None:
        check(self)


def test_a_bound_that_only_keeps_mistakes_out_is_told_to_those_who_meet_it() -> None:
    assert [row.bounds for row in table(Weighted)] == ["at least 0"]
    with pytest.raises(NetLensError, match="but must be a finite number from 0 to 1,000,000,000,000"):
        Weighted(weight=1e13)


def test_what_is_public_and_has_options_declares_them_all() -> None:
    """A field that a person may set has a help, and the check of its type and bounds, or none of the class's has."""
    for module in iter_modules():
        for cls in (getattr(module, name) for name in getattr(module, "__all__", ()) if hasattr(module, name)):
            if isinstance(cls, type) and is_dataclass(cls) and cls not in HOLDING:
                plain = [one for one in options_of(cls) if isinstance(one.default, bool | int | float | str)]
                assert all(one.help for one in plain), cls


@pytest.mark.parametrize(("cls", "one"), EACH, ids=named)
def test_every_option_says_what_it_does(cls: type, one: Option) -> None:
    assert one.help.endswith(".") and one.help[0].isupper() and "\n" not in one.help
    assert len(one.help) <= 120


@pytest.mark.parametrize("cls", MADE, ids=named)
def test_defaults_pass_their_own_check(cls: type) -> None:
    instance = cls(**NEEDED.get(cls, {}))
    for one in options_of(cls):
        if not one.required:
            assert getattr(instance, one.name) == one.default or one.default != one.default


@pytest.mark.parametrize(("cls", "one"), [(c, o) for c, o in EACH if list(numbers_beyond(o))], ids=named)
def test_what_is_out_of_bounds_is_refused_by_name(cls: type, one: Option) -> None:
    for number in numbers_beyond(one):
        with pytest.raises(NetLensError) as caught:
            make_with(cls, one, number)
        message = str(caught.value)
        assert message.startswith(f"{cls.__name__}: {one.name} is {number}, but must be ") and "\n" not in message


@pytest.mark.parametrize(("cls", "one"), [(c, o) for c, o in EACH if o.kind is not Any], ids=named)
def test_another_type_is_refused_by_name(cls: type, one: Option) -> None:
    with pytest.raises(NetLensError, match=f"{one.name}|an image|Shared needs"):
        make_with(cls, one, object())


def make_with(cls: type, one: Option, value: Any) -> None:
    needed = NEEDED.get(cls, {})
    if cls is FromImage:
        needed = {"source": torch.zeros(3, 8, 8)}
    elif cls in (NetDreamer, Survey, Tiled):
        needed = {"flat": open_network(), "objective": logit(0), "data": [], "questions": [Predictions()]}
    names = [field.name for field in options_of(cls)]
    cls(**{**{name: argument for name, argument in needed.items() if name in names}, one.name: value})


@pytest.mark.parametrize("cls", MADE, ids=named)
def test_a_table_is_read_back(cls: type) -> None:
    instance = cls(**NEEDED.get(cls, {}))
    rows = table(cls)
    assert [row.name for row in rows] == [one.name for one in options_of(cls)]
    with_default = [row for row in rows if row.default not in ("", "required", "constant")]
    # what a text means is the default itself
    for row in with_default:
        (one,) = (one for one in options_of(cls) if one.name == row.name)
        text = row.default
        again: Any = parse(cls, f"{row.name}={text}", **NEEDED.get(cls, {}))
        assert getattr(again, row.name) == getattr(instance, row.name), (row, one)


def test_numbers_of_libraries_become_numbers() -> None:
    method = parse(METHODS["occlusion"], "", window=np.array([4, 8]), stride=np.int64(2), baselines=torch.tensor(0.5))
    assert method.window == (4, 8) and type(method.stride) is int
    assert isinstance(method.baselines, torch.Tensor)  # what already is of one of the kinds stays as it is
    assert type(checked("x", np.float32(0.5), float)) is float and checked("x", torch.tensor(3), int) == 3
    for wrong in (True, 2.0, "2", np.bool_(True), None, [2]):
        with pytest.raises(NetLensError, match=r"x is .*, but must be a whole number"):
            checked("x", wrong, int)
    for wrong in (math.nan, math.inf, 10**400, "1", True, torch.zeros(2)):
        with pytest.raises(NetLensError, match=r"x is .*, but must be a finite number"):
            checked("x", wrong, float)


def test_texts_have_one_meaning() -> None:
    assert split("a,b:x=1,y=2/3,c,d:z=e:f") == [("a", ""), ("b", "x=1,y=2/3"), ("c", ""), ("d", "z=e:f")]
    method = method_from("grad_cam:layer=layer2/layer3,relu=no")
    assert method == METHODS["grad_cam"](layer=("layer2", "layer3"), relu=False)
    assert method_from("grad_cam:layer=layer2").layer == "layer2" and method_from("grad_cam:layer=-1").layer == -1
    assert method_from("occlusion:window=32x16,stride=8").window == (32, 16)
    assert method_from("extremal_perturbation:areas=0.05/0.1").areas == (0.05, 0.1)
    assert method_from("extremal_perturbation:areas=0.05").areas == 0.05
    assert method_from("finer_cam:comparisons=3").comparisons == (3,)
    assert method_from("smooth_gradient:method=grad_cam") == SmoothGradient(method=METHODS["grad_cam"]())
    assert FinerCAM().method == METHODS["grad_cam"]()
    layers = {one.name: one for one in options_of(StyleTransfer)}["style_layers"]
    assert read(layers, "a,b:0.5", ",") == {"a": 1.0, "b": 0.5} and read(layers, "a,b", ",") == ("a", "b")
    assert spelled({"a": 1.0, "b": 0.5}, ",") == "a:1.0,b:0.5"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("occlusion:widow=3", "Occlusion has no option 'widow'; .* Closest: 'window'"),
        ("occlusion:window=0", "Occlusion: window is 0, but must be a whole number of at least 1"),
        ("occlusion:window=a", "Occlusion: window is 'a', but must be"),
        ("occlusion:window", "Occlusion: 'window' is no option; write it as name=value"),
        ("occlusion:window=3,window=4", "window is given twice"),
        ("oclusion:window=3", "no method 'oclusion'. Closest: 'occlusion'"),
        ("smooth_gradient:method=nothing", "method is 'nothing', but must be a Method"),
        ("rise:seed=1_0", "seed is '1_0', but must be a whole number"),
        ("rise:centered=1", "centered is '1', but must be True or False"),
        ("rise:baselines=nan", "baselines is nan, but must be a finite number"),
    ],
)
def test_what_is_wrong_with_a_text_is_said(text: str, complaint: str) -> None:
    with pytest.raises(NetLensError, match=complaint.replace(".", r"\.").replace(r"\.*", ".*")):
        method_from(text)


def test_a_class_of_ones_own_is_checked_and_keeps_the_bounds_of_its_base() -> None:
    @dataclass(frozen=True)
    class Base:
        size: int = option(3, least=1, most=9, help="A size.")

        def __post_init__(self) -> None:
            check(self)

    @dataclass(frozen=True)
    class Larger(Base):
        size: int = 5
        plain: Any = None

    assert [(one.name, one.default, one.help) for one in options_of(Larger)] == [
        ("size", 5, "A size."),
        ("plain", None, ""),
    ]
    with pytest.raises(NetLensError, match="Larger: size is 10, but must be a whole number from 1 to 9"):
        Larger(10)


def test_a_method_of_names_that_are_not_known_can_still_be_made() -> None:
    cls: Any = dataclass(frozen=True)(
        type("Own", (), {"__annotations__": {"x": "Nowhere", "n": "int"}, "x": 1, "n": "a", "__post_init__": check})
    )
    assert cls().n == "a"
    assert [one.default for one in options_of(cls)] == [1, "a"]


def test_the_command_line_says_all_options_of_a_class_and_nothing_twice() -> None:
    commands = {"stylize": StyleTransfer, "dream": Dreaming, "invert": Inverting, "atlas": Charting}
    for command, cls in commands.items():
        text = CliRunner().invoke(main, [command, "--help"]).output.split("Options:")[1]
        for one in options_of(cls):
            if one.name != "stop":
                assert text.count(f"--{one.name.replace('_', '-')} ") == 1, (command, one.name)
    text = CliRunner().invoke(main, ["visualize", "--help"]).output
    assert all(f"--{name} " in text for name in ("size", "steps", "seed", "param"))


def test_methods_prints_the_options_of_one() -> None:
    result = CliRunner().invoke(main, ["methods", "integrated_gradients"])
    lines = result.output.splitlines()
    assert result.exit_code == 0 and lines[2].split()[:2] == ["NAME", "TYPE"]
    assert [line.split()[0] for line in lines[3:]] == ["n_steps", "baselines", "quadrature", "multiply"]
    assert "has no options" in CliRunner().invoke(main, ["methods", "saliency"]).output
    wrong = CliRunner().invoke(main, ["methods", "salience"])
    assert wrong.exit_code == 2 and "Closest: 'saliency'" in wrong.output


def test_the_seeds_name_of_guided_backprop_stays() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    lens = NetLens(network, torch.randn(1, 3, 8, 8))
    assert torch.equal(lens.input_gradient(guided=True).values, lens.guided_backprop().values)
    assert torch.equal(lens.input_gradient().values.abs(), lens.saliency().values)


@pytest.mark.parametrize("page", DESCRIBED)
def test_the_tables_of_the_docs_are_those_of_the_classes(page: str) -> None:
    text = (DOCS / page).read_text()
    (markdown,) = re.findall(r"<!-- options: begin -->\n(.*?)\n<!-- options: end -->", text, flags=re.DOTALL)
    assert markdown == tables(DESCRIBED[page]), "run python -m tests.options.test_options"


def tables(classes: Mapping[str, type]) -> str:
    """The options of classes in Markdown; classes of the same options share a table."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, cls in classes.items():
        groups.setdefault(tuple(table(cls)), []).append(name)
    plain = ", ".join(f"`{name}`" for name in groups.pop((), []))
    parts = [f"Without options: {plain}."] if plain else []
    for rows, names in groups.items():
        lines = ["| option | type | default | bounds | |", "|---|---|---|---|---|"]
        lines += [f"| `{r.name}` | {r.type} | {r.default} | {r.bounds} | {r.help} |" for r in rows]
        parts.append(f"**{', '.join(f'`{name}`' for name in names)}**\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def test_every_method_is_checked_when_it_is_made() -> None:
    assert all(issubclass(method, Method) for method in METHODS.values())
    for method in METHODS.values():
        post = method.__post_init__
        assert post is Method.__post_init__ or "super().__post_init__()" in Path(_file(method)).read_text()


def _file(method: type) -> str:
    import sys

    return str(sys.modules[method.__module__].__file__)


if __name__ == "__main__":
    for page, classes in DESCRIBED.items():
        write_between(DOCS / page, "options", tables(classes))
