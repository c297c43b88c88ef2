"""docs/coming_from.md: both sides of a pair run and give the same numbers, and every name in its tables is one."""

from __future__ import annotations

import copy
import importlib
import re
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netlens import FlatModel
from netlens.evaluation import randomized
from netlens.objectives import Objective, Record
from tests.docs.pages import ROOT
from tests.networks.narrow import NarrowResNet

PAGE = "docs/coming_from.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
TOLERANCE = 1e-4  # of the largest value, as the page says
AS_GRAD_CAM = ("HiResCAM", "LayerCAM", "XGradCAM", "GradCAMElementWise")


SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^##? ", TEXT, flags=re.MULTILINE)}
"""The text below each heading."""


def code(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def pairs(title: str) -> list[tuple[str, str]]:
    """The code of both sides, pair by pair."""
    rows = re.findall(r"<tr><td>(.*?)</td></tr>", SECTIONS[title], flags=re.DOTALL)
    return [(left, right) for left, right in map(code, rows)]


def run(block: str, names: dict[str, Any]) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers tell of gradients and hooks that they set
        exec(compile(block, PAGE, "exec", dont_inherit=True), names)
    return names


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    model = randomized(NarrowResNet(10, blocks=(2, 2, 2, 2))).eval()
    for part in model.modules():
        if hasattr(part, "inplace"):
            part.inplace = False  # the peers record what such a rectifier overwrites; netlens does not mind
    return model


@pytest.fixture
def names(network: nn.Module) -> dict[str, Any]:
    """What the page takes for granted, and what its first block makes."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 3, 64, 64, generator=generator)
    mask = torch.arange(16).reshape(1, 1, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3)
    return run(code(SECTIONS[next(name for name in SECTIONS if name)])[0], {"model": network, "x": x, "mask": mask})


def same(ours: Tensor, theirs: Any) -> None:
    expected = torch.as_tensor(theirs).detach()
    assert expected.abs().max() > 0
    assert ours.numel() == expected.numel()
    assert (ours.reshape(expected.shape) - expected).abs().max() <= TOLERANCE * expected.abs().max()


def compare(left: str, right: str, names: dict[str, Any], before: str) -> None:
    """Run both sides, each after the imports of the first pair."""
    theirs = run(f"{before}\n{left}", dict(names))["values"]
    ours = run(right, dict(names))["values"]
    same(ours, theirs)


@pytest.mark.parametrize("index", range(len(pairs("captum"))))
def test_captum_gives_the_same(index: int, names: dict[str, Any]) -> None:
    compare(*pairs("captum")[index], names, "import captum.attr as captum")


@pytest.mark.parametrize("name", ["GradCAM", *AS_GRAD_CAM])
def test_pytorch_grad_cam_gives_the_same(name: str, names: dict[str, Any]) -> None:
    (pair,) = pairs("pytorch-grad-cam")
    left, right = (re.sub(r"\bGradCAM\b", name, side) for side in pair)
    compare(left, right, names, "")


def test_the_page_names_the_methods_that_are_the_same() -> None:
    assert all(f"`{name}`" in SECTIONS["pytorch-grad-cam"] for name in AS_GRAD_CAM)


@pytest.mark.parametrize("index", range(len(pairs("lucent"))))
def test_lucent_has_the_same_objective(index: int, network: nn.Module, names: dict[str, Any]) -> None:
    pytest.importorskip("lucent", reason="lucent is not installed, see the extra test of netlens")
    left, right = pairs("lucent")[index]
    small = left.replace("thresholds=(256,)", "thresholds=(1,), show_image=False, progress=False")
    assert (small != left) == (index == 0)
    before = "from lucent.optvis import objectives as goals"
    copied = copy.deepcopy(network)  # its hooks stay on the network
    theirs = run(f"{before}\n{small}", names | {"model": copied})["goal"]
    ours: Objective = run(right.replace("(Fourier(128), 256)", "(Fourier(32), 1)"), dict(names))["goal"]
    flat: FlatModel = names["flat"]
    batch = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    values = flat.record(batch, layers=["layer2"])
    numbers = ours(Record(flat, values))
    total = -theirs(lambda layer: values[flat.key(layer)])
    same(numbers.sum() if "interpolate" in left else numbers.mean(), total)


def test_flashtorch_gives_the_same_gradients(network: nn.Module, names: dict[str, Any]) -> None:
    pytest.importorskip("flashtorch", reason="flashtorch is not installed, see the extra test of netlens")
    copied = copy.deepcopy(network)  # its hooks stay on the network
    left, right = pairs("FlashTorch")[0]
    ours = run(right, dict(names))["values"]
    same(ours, run(left, names | {"model": copied})["values"])


@pytest.mark.parametrize("index", range(len(pairs("FlashTorch"))))
def test_our_side_of_flashtorch_runs(index: int, names: dict[str, Any]) -> None:
    _, right = pairs("FlashTorch")[index]
    names["predicted"] = 3
    small = right.replace("NetDreamer(flat)", "NetDreamer(flat, size=32, steps=1, progress=False)")
    run(small.replace('"features.10"', '"layer2"'), dict(names))


def rows(title: str) -> list[list[str]]:
    """The cells of the table of names in a section."""
    lines = [line for line in SECTIONS[title].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("title", "theirs", "ours"),
    [
        ("captum", ("captum.attr",), ("netlens.attribution",)),
        ("lucent", ("lucent.optvis.objectives", "lucent.optvis"), ("netlens.objectives", "netlens.visualization")),
    ],
)
def test_the_names_of_the_table_are_names(title: str, theirs: tuple[str, ...], ours: tuple[str, ...]) -> None:
    pytest.importorskip(theirs[0].partition(".")[0], reason="see the extra test of netlens")
    assert rows(title)
    for cells in rows(title):
        for cell, modules in zip(cells, (theirs, ours), strict=False):
            for name in re.findall(r"`([\w.]+)[^`]*`", cell):
                assert any(_has(module, name) for module in modules), f"{name} is in none of {modules}"


def _has(module: str, name: str) -> bool:
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(value, part):
            try:
                value = importlib.import_module(f"{value.__name__}.{part}")
            except (ImportError, AttributeError):
                return False
        else:
            value = getattr(value, part)
    return True


def test_every_class_that_explains_stands_on_the_page() -> None:
    reason = "captum or pytorch-grad-cam is not installed, see the extra test of netlens"
    captum, cams = (pytest.importorskip(library, reason=reason) for library in ("captum.attr", "pytorch_grad_cam"))
    abstract = ("Attribution", "GradientAttribution", "PerturbationAttribution", "NeuronAttribution", "LimeBase")
    of_captum = [
        name
        for name, one in vars(captum).items()
        if isinstance(one, type) and issubclass(one, captum.Attribution) and name not in abstract and "LLM" not in name
    ]
    of_cams = [name for name, one in vars(cams).items() if isinstance(one, type) and "Activations" not in name]
    of_cams = [name for name in of_cams if not name.startswith("AblationLayer")]  # parts of AblationCAM
    assert len(of_captum) > 40 and len(of_cams) > 15
    for title, names in (("captum", of_captum), ("pytorch-grad-cam", of_cams)):
        assert [name for name in names if not re.search(rf"\b{name}\b", SECTIONS[title])] == []
