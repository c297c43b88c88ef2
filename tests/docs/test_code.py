"""The Python code of every page runs, block after block, and the rule of five lines is right.

Pages speak of photos, weights and networks that a reader has. Here, stand-ins are used, and steps and sizes are small.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import detection, segmentation

from netlens import FlatModel, NetLens, attribution, objectives, open_network
from netlens.attribution import METHODS, GradCAM, InputXGradient
from netlens.errors import NetLensWarning
from netlens.objectives import logit
from netlens.weights import build
from netlens.world.folder import write_world
from tests.docs.pages import PAGES, blocks, fill


class Detector(nn.Module):
    """A detector that returns (N, cells, 4 + 1 + classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(3, 8, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cells(x).flatten(2).transpose(1, 2)
        return torch.cat([48 + y[..., :2], 8 + y[..., 2:4].exp(), y[..., 4:]], -1)


def of_the_readme() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"my_network": build("resnet18"), "x": torch.randn(1, 3, 64, 64, generator=generator)}


def of_methods() -> dict[str, Any]:
    names = ["dog", *map(str, range(999))]
    flat = FlatModel.from_nn_Module(build("resnet18"), classes=names)
    lens = NetLens(flat, "dog.jpg")
    return {"attribution": attribution, "flat": flat, "lens": lens, "logit": logit, "x": lens.x}


def of_targets() -> dict[str, Any]:
    def segmentation_network(weights: str) -> nn.Module:
        return segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)

    def detector(weights: str) -> nn.Module:
        small = {"min_size": 96, "max_size": 128}
        return detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None, score_thresh=0.0, **small)

    generator = torch.Generator().manual_seed(1)
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(8))
    return {
        "FlatModel": FlatModel,
        "GradCAM": GradCAM,
        "NetLens": NetLens,
        "fcn_resnet50": segmentation_network,
        "flat": open_network("mobilenet_v2", "path.safetensors"),
        "encoder": encoder,
        "mask": torch.ones(520, 520),
        "my_detector": Detector(),
        "other": torch.rand(1, 3, 96, 96, generator=generator),
        "text": torch.randn(8, generator=generator),
        "other_text": torch.randn(8, generator=generator),
        "objectives": objectives,
        "retinanet": detector("DEFAULT"),
        "retinanet_resnet50_fpn": detector,
        "x": torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)),
    }


def of_surveys() -> dict[str, Any]:
    write_world("world", 30, size=64, progress=False)
    return {}


def of_studies() -> dict[str, Any]:
    write_world("world", 45, size=64, progress=False)
    return {}


class _Patient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear, self.head = nn.Conv2d(3, 8, 3), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, image: torch.Tensor, patient: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.conv(image)).mean((2, 3))
        scores: torch.Tensor = self.head(features * torch.sigmoid(self.linear(patient)))
        return scores


def of_inputs() -> dict[str, Any]:
    torch.manual_seed(0)
    head = [nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)]
    heartbeat = nn.Sequential(nn.Conv1d(2, 4, 7), nn.AdaptiveAvgPool1d(4), *head)
    tumor = nn.Sequential(nn.Conv3d(1, 4, 3), nn.AdaptiveAvgPool3d(2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    ecg, scan = torch.randn(1, 2, 120), torch.rand(1, 1, 8, 16, 16)
    for network, x in ((heartbeat, ecg), (tumor, scan)):
        network(x)  # its last layer is made for the size of x
    image, patient = torch.rand(2, 3, 32, 32), torch.rand(2, 4)
    networks = {"heartbeat": heartbeat, "tumor": tumor, "skin": _Patient()}
    return {**networks, "ecg": ecg, "scan": scan, "image": image, "patient": patient}


STAND_INS: dict[str, Callable[[], dict[str, Any]]] = {
    "README.md": of_the_readme,
    "docs/inputs.md": of_inputs,
    "docs/methods.md": of_methods,
    "docs/studies.md": of_studies,
    "docs/survey.md": of_surveys,
    "docs/targets.md": of_targets,
}
"""What a page takes for granted, by the names that it uses."""

CHANGED = {
    "README.md": {
        'open_network("mobilenet_v2")': 'open_network("mobilenet_v2", "path.safetensors")',
        "n_steps=100": "n_steps=2",
    },
    "docs/howto/figure.md": {'open_network("mobilenet_v2")': "open_network()", "[258, 269]": "[2, 3]"},
    "docs/howto/server.md": {'open_network("mobilenet_v2")': 'open_network("mobilenet_v2", "path.safetensors")'},
    "docs/studies.md": {
        '"world/images", steps=25': '"world/images", steps=3',
        "surface=True, steps=5": "surface=True, steps=3",
        "cells=10,": "cells=2, steps=1, cell_size=32,",
    },
    "docs/survey.md": {"workers=2": "workers=0"},
    "docs/visualization.md": {
        "Fourier(224,": "Fourier(64,",
        "steps=256": "steps=1",
        "NetDreamer(flat)": "NetDreamer(flat, size=64, steps=1, progress=False)",
        'color="luminance")': 'color="luminance", steps=1, size=64)',
    },
}
"""What is written otherwise here, by page: weights that would be downloaded, and what takes long."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    return tmp_path


@pytest.fixture
def unchanged_registry() -> Any:
    """The pages register methods of their own, which no other test should meet."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def run(page: str) -> dict[str, Any]:
    """Run all blocks of a page in one namespace, which is what comes back."""
    namespace: dict[str, Any] = {"__name__": "page", **STAND_INS.get(page, dict)()}
    code = blocks(page, "python")
    for written, small in CHANGED.get(page, {}).items():
        assert any(written in block for block in code), f"{page} no longer has {written!r}"
        code = [block.replace(written, small) for block in code]
    threads = torch.get_num_threads()
    try:
        for block in code:
            exec(compile(block, page, "exec", dont_inherit=True), namespace)
    finally:
        torch.set_num_threads(threads)
    return namespace


# the blocks of the page that is left out are pairs, with other libraries: test_coming_from.py
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page != "docs/coming_from.md"])
def test_the_code_of_the_page_runs(page: str, folder: Path, unchanged_registry: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NetLensWarning)  # networks with random weights predict no dog
        run(page)


def test_every_stand_in_is_of_a_page_with_code() -> None:
    assert {*STAND_INS, *CHANGED} <= {page for page in PAGES if blocks(page, "python")}


def test_the_page_on_rules_explains_with_numbers(folder: Path) -> None:
    namespace = run("docs/rules.md")
    values = namespace["relevance_of_layers"]
    assert list(values) == ["input", "trunk_output.block2.block2-1.activation"]
    assert all(v.isfinite().all() and v.count_nonzero() for v in values.values())
    assert namespace["values"].isfinite().all()


def test_its_rule_is_rect_grad(folder: Path) -> None:
    rules = run("docs/rules.md")["RECTGRAD"]
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3)).double()
    x = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    flat = FlatModel.from_nn_Module(network)
    values = InputXGradient()(flat.with_rules(rules), x, logit(0)).values
    for row, relevance in zip(x, values, strict=True):
        before = network[0].weight @ row + network[0].bias
        product = before.clamp(min=0) * network[2].weight[0]
        most = product.topk(4).indices  # of 40, the quantile 0.9 lies between the fifth and the fourth largest
        slope = torch.zeros(40, dtype=torch.float64)
        slope[most] = network[2].weight[0, most]
        assert (before[most] > 0).all()
        assert_close(relevance, (network[0].weight.T @ slope) * row)
