"""Atlases: choices, layouts and means are those of plain loops; the page is one file that can be zoomed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from netlens import open_network
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.studies import DatasetAtlas, dataset_atlas
from netlens.studies._atlas import whitening
from netlens.studies._chance import chances
from netlens.studies._layout import laid_out
from netlens.studies._vectors import Vectors
from netlens.survey import State, Survey
from tests.survey import whole

SMALL: dict[str, Any] = {"cells": 3, "steps": 2, "cell_size": 16, "progress": False}
CLASS = 2


def vectors_of(samples: whole.Samples, n: int, shard: int = 64) -> State:
    survey = Survey(whole.flat(), samples, [Vectors("4", n, 5)], shard=shard, progress=False).run()
    state: State = survey.answers[0]
    return state


def test_vectors_are_those_of_chosen_places_whatever_the_cut() -> None:
    samples = whole.Samples(70)
    activation = nn.Sequential(*list(whole.network().children())[:5])(samples.images).detach()
    chance = chances(5, range(70), 3)
    chosen = sorted(sorted(range(70), key=lambda i: (chance[i, 0].item(), i))[:30])
    for shard in (64, 17):
        state = vectors_of(samples, 30, shard)
        assert state["samples"].tolist() == chosen
        assert torch.equal(state["labels"], samples.labels[chosen])
        for i, sample in enumerate(chosen):
            row, column = int(chance[sample, 1] * 4), int(chance[sample, 2] * 4)
            assert state["places"][i].tolist() == [row, column]
            assert torch.equal(state["vectors"][i], activation[sample, :, row, column])


def test_chances_are_spread_evenly_and_differ_by_seed() -> None:
    numbers = chances(0, range(4000), 2)
    assert numbers.min() >= 0 and numbers.max() < 1
    assert_close(numbers.mean(0), torch.tensor([0.5, 0.5], dtype=torch.float64), atol=0.02, rtol=0)
    assert abs(numbers.T.corrcoef()[0, 1]) < 0.05
    assert not torch.equal(numbers, chances(1, range(4000), 2))


def test_pca_keeps_the_two_largest_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(300, 2, dtype=torch.float64, generator=generator) * torch.tensor([0.3, 0.1])
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generator))[0]
    vectors = torch.nn.functional.normalize(10 * turn[2] + flat @ turn[:2], dim=1)
    points = laid_out(vectors, "pca", 0)
    assert points.min() == 0 and points.max() == 1
    for axis in (0, 1):  # up to the curve of the sphere
        assert abs(torch.stack([points[:, axis], flat[:, axis]]).corrcoef()[0, 1]) > 0.98
    assert torch.equal(points, laid_out(vectors, "pca", 1))
    assert laid_out(torch.ones(5, 1), "pca", 0).shape == (5, 2)


def test_whitening_by_hand() -> None:
    vectors = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]], dtype=torch.float64)  # the mean product is 1/2 identity
    assert_close(whitening(vectors), 2 * torch.eye(2, dtype=torch.float64))
    vectors = torch.tensor([[3.0, 1], [3, -1]], dtype=torch.float64)
    products = 0.95 * torch.diag(torch.tensor([9.0, 1])) + 0.05 * 5 * torch.eye(2)
    assert_close(whitening(vectors), torch.linalg.inv(products.double()))


@pytest.fixture(scope="module")
def atlas() -> DatasetAtlas:
    return dataset_atlas(open_network(), scenes(), "trunk_output.block2", classes=[CLASS], least=2, **SMALL)


def scenes() -> list[tuple[Any, int]]:
    from netlens.world.scene import scene

    return [(scene((3, i), 64, (0, CLASS, 7)[i % 3]).image, (0, CLASS, 7)[i % 3]) for i in range(45)]


def test_cells_hold_the_pictures_that_lie_in_them(atlas: DatasetAtlas) -> None:
    every, of_class = atlas.sheets
    assert [sheet.title for sheet in atlas.sheets] == ["all pictures", "checkered disc"]
    assert atlas.points.shape == (45, 2) and atlas.samples.tolist() == list(range(45))
    for sheet, label in ((every, None), (of_class, CLASS)):
        cells: dict[tuple[int, int], list[int]] = {}
        for sample, (x, y) in enumerate(atlas.points.tolist()):
            if label is None or atlas.labels[sample] == label:
                cells.setdefault((min(2, int(3 * y)), min(2, int(3 * x))), []).append(sample)
        expected = {cell: samples for cell, samples in sorted(cells.items()) if len(samples) >= 2}
        assert [tuple(cell) for cell in sheet.cells.tolist()] == list(expected)
        assert sheet.count.tolist() == [len(samples) for samples in expected.values()]
        assert len(sheet.pictures) == len(sheet.captions) == len(expected)
    names = open_network().classes
    assert names is not None and all(caption.startswith(names[CLASS]) for caption in of_class.captions)
    assert not torch.equal(every.pictures[0], every.pictures[1])


def test_without_whitening_a_cell_shows_its_mean() -> None:
    from netlens.objectives import direction
    from netlens.visualization import Fourier, OptVis

    flat, data = open_network(), scenes()[:20]
    options = {**SMALL, "cells": 1, "least": 1, "whiten": False}
    plain = dataset_atlas(flat, data, "trunk_output.block2", **options)
    key = flat.key("trunk_output.block2")
    state = Survey(flat, data, [Vectors(key, 2000, 0)], progress=False).run().answers[0]
    mean = torch.nn.functional.normalize(state["vectors"].double().mean(0), dim=0).float()
    vis = OptVis(flat, direction(key, mean[None], cosine_power=1.0))
    expected = vis.render(Fourier(16, batch=1, seed=(0,)), steps=2, progress=False).images
    assert_close(plain.sheets[0].pictures.float() / 255, expected, atol=1 / 255, rtol=0)
    whitened = dataset_atlas(flat, data, "trunk_output.block2", **{**options, "whiten": True})
    assert not torch.equal(plain.sheets[0].pictures, whitened.sheets[0].pictures)


def test_an_atlas_is_saved_and_drawn(atlas: DatasetAtlas, tmp_path: Path) -> None:
    path = atlas.save(tmp_path / "atlas.safetensors")
    again = DatasetAtlas.load(path)
    assert again.save(tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert torch.equal(again.image(1), atlas.image(1))
    assert atlas.image().shape == (3, 48, 48)
    assert atlas.show().rgba().std() > 10


def test_the_page_is_one_file_and_asks_for_nothing(atlas: DatasetAtlas, tmp_path: Path) -> None:
    evil = DatasetAtlas(**{**vars(atlas), "network": "</title><script>{CONTENT}"})
    page = evil.save(tmp_path / "atlas.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(http|//|file)|url\(|@import|fetch\(|XMLHttp""", page)
    assert page.count("<script") == 2 and "&lt;/title&gt;&lt;script&gt;{CONTENT}" in page
    content = re.search(r'<script id="content" type="application/json">(.*?)</script>', page)
    assert content is not None
    sheets = json.loads(content[1])["sheets"]
    assert sheets[0]["cells"] == atlas.sheets[0].cells.tolist()
    assert all(sheet["image"].startswith("data:image/jpeg;base64,") for sheet in sheets)


@pytest.fixture
def tab(browser: Any, atlas: DatasetAtlas, tmp_path: Path) -> Iterator[Any]:
    page, urls, failed = browser.new_page(viewport={"width": 900, "height": 700}), [], []
    page.on("request", lambda request: urls.append(request.url))
    page.on("console", lambda message: failed.append(message.text))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(atlas.save(tmp_path / "atlas.html").as_uri())
    page.wait_for_function("images.every(image => image.complete)")
    yield page
    assert failed == [] and {url.partition(":")[0] for url in urls} <= {"file", "data"}
    page.close()


@pytest.mark.browser
def test_the_page_is_zoomed_by_wheel_and_keyboard(tab: Any) -> None:
    def view() -> dict[str, float]:
        viewport: dict[str, float] = tab.evaluate("view")
        return viewport

    whole_view = view()
    box = tab.locator("canvas").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(*middle)
    tab.mouse.wheel(0, -300)
    tab.wait_for_function(f"view.scale > {whole_view['scale']}")
    zoomed = view()
    # what lies under the pointer stays there
    for side, length in (("x", box["width"]), ("y", box["height"])):
        under = [(length / 2 - one[side]) / one["scale"] for one in (whole_view, zoomed)]
        assert under[0] == pytest.approx(under[1], abs=0.02)
    tab.keyboard.press("0")
    assert view() == whole_view
    tab.keyboard.press("+")
    tab.keyboard.press("ArrowRight")
    assert view()["scale"] == pytest.approx(1.3 * whole_view["scale"])
    tab.keyboard.press("0")
    row, column = tab.evaluate("content.sheets[0].cells[0]")
    scale = whole_view["scale"]
    place = [whole_view[s] + (i + 0.5) * scale for s, i in (("x", column), ("y", row))]
    tab.mouse.move(box["x"] + place[0], box["y"] + place[1])
    tab.wait_for_function("document.getElementById('cell').textContent.includes('pictures')")
    before = tab.screenshot()
    tab.select_option("#sheet", "1")
    assert tab.screenshot() != before


@pytest.mark.survey
def test_umap_lays_like_beside_like() -> None:
    pytest.importorskip("umap", reason="umap-learn is not installed, see the extra netlens[umap]")
    generator = torch.Generator().manual_seed(0)
    centers = torch.eye(8)[:3] * 5
    vectors = (centers[:, None] + 0.2 * torch.randn(3, 40, 8, generator=generator)).flatten(0, 1)
    before = torch.get_num_threads()
    points = laid_out(vectors, "umap", 0)
    assert torch.get_num_threads() == before == 1
    assert torch.equal(points, laid_out(vectors, "umap", 0))
    groups = points.view(3, 40, 2)
    middles = groups.mean(1)
    within = (groups - middles[:, None]).norm(dim=2).mean()
    assert torch.pdist(middles).min() > 3 * within


def test_what_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, samples = whole.flat(), whole.Samples(20)
    with pytest.raises(NetLensError, match="'pca' or 'umap'"):
        dataset_atlas(flat, samples, "4", layout="tsne")
    with pytest.raises(NetLensError, match="no cell holds 21"):
        dataset_atlas(flat, samples, "4", least=21, **SMALL)
    with pytest.raises(NetLensError, match="needs two pictures"):
        dataset_atlas(flat, whole.Samples(1), "4", **SMALL)
    zero = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten()))
    nn.init.zeros_(zero.layers["0"].weight)
    nn.init.zeros_(zero.layers["0"].bias)
    with pytest.raises(NotApplicable, match="is 0 at all places"):
        dataset_atlas(zero, samples, "1", **SMALL)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(NetLensError, match=r"pip install 'netlens\[umap\]'"):
        dataset_atlas(flat, samples, "4", layout="umap")
