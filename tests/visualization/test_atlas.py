"""The atlas of one image: directions of its places, groups that make up its activation."""

import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

from netlens.errors import ImageError, LayerNotFound, NetLensError, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.objectives import direction
from netlens.preprocessing import Preprocessing
from netlens.visualization import Fourier, OptVis, activation_atlas
from netlens.visualization._atlas import (
    factorized,
)

KNOWN = Preprocessing(None, None, (0.4, 0.5, 0.45), (0.2, 0.25, 0.3))
FAST = {"cell_size": 16, "steps": 3, "progress": False}


@pytest.fixture(scope="module")
def flat():
    torch.manual_seed(0)
    trunk = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=4, padding=1), nn.ReLU()]
    module = nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).double()
    return FlatModel.from_nn_Module(module, adapter=Adapter(preprocessing=KNOWN))


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 20, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def activation(flat, image, key="2"):
    with torch.no_grad():
        return flat(flat.adapter.preprocessing.normalize(image)[None], until=key)[0]


def test_a_grid_has_the_directions_of_its_places(flat, image):
    atlas = activation_atlas(flat, image, "2", cells=99, **FAST)
    maps = activation(flat, image)
    assert maps.shape == (6, 5, 8) and len(atlas.pictures) == 40 and not atlas.grouped
    torch.testing.assert_close(atlas.directions, maps.flatten(1).T)
    torch.testing.assert_close(torch.einsum("nc,nhw->chw", atlas.directions, atlas.weights), maps)
    assert atlas.pictures.captions[:9] == ("0,0", "0,1", "0,2", "0,3", "0,4", "0,5", "0,6", "0,7", "1,0")


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_each_picture_is_its_own_single_run(flat, image, chunk):
    atlas = activation_atlas(flat, image, "2", cells=3, chunk=chunk, seed=7, **FAST)
    assert atlas.weights.shape[1:] == (2, 3)
    units = torch.nn.functional.normalize(atlas.directions, dim=1)
    for i, unit in enumerate(units):
        alone = OptVis(flat, direction("2", unit, cosine_power=1)).render(Fourier(16, seed=7), 3, progress=False)
        torch.testing.assert_close(atlas.pictures.images[i], alone.images[0], rtol=0, atol=1e-5)


def test_cells_are_means_of_the_places_in_them(flat, image):
    big = torch.nn.functional.interpolate(image[None], (32, 64))[0]
    atlas = activation_atlas(flat, big, "2", cells=4, **FAST)
    maps = activation(flat, big)
    assert maps.shape[1:] == (8, 16) and atlas.weights.shape == (8, 2, 4)
    torch.testing.assert_close(atlas.directions[5], maps[:, 4:8, 4:8].mean((1, 2)))


def test_groups_reconstruct_what_has_that_many_and_are_ordered():
    generator = torch.Generator().manual_seed(0)
    weights, directions = (torch.rand(*s, generator=generator, dtype=torch.float64) for s in ((3, 6, 7), (3, 10)))
    weights[0, :3], weights[1, 3:], weights[2, :, 3:] = 0, 0, 0  # parts of their own
    directions[:, :6].mul_(torch.eye(3, dtype=torch.float64).repeat_interleave(2, 1))
    maps = torch.einsum("nc,nhw->chw", directions, weights)
    factors, basis, error = factorized(maps, 3)
    assert error < 0.01
    torch.testing.assert_close(torch.einsum("nc,nhw->chw", basis, factors), maps, rtol=0, atol=0.05)
    assert (factors >= 0).all() and (basis >= 0).all()
    strength = factors.sum((1, 2)) * basis.norm(dim=1)
    assert (strength.diff() <= 0).all()
    alike = torch.nn.functional.cosine_similarity(basis[:, None], directions[None], dim=2)
    assert (alike.amax(1) > 0.98).all() and sorted(alike.argmax(1).tolist()) == [0, 1, 2]


def test_the_error_is_what_groups_leave_out_and_falls_with_their_number(flat, image):
    maps = activation(flat, image, "3")
    errors = []
    for groups in (1, 3, 6):
        weights, directions, error = factorized(maps, groups)
        left = maps - torch.einsum("nc,nhw->chw", directions, weights)
        assert error == pytest.approx(float(left.norm() / maps.norm()), rel=1e-6)
        errors.append(error)
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.05


def test_an_atlas_of_groups(flat, image):
    atlas = activation_atlas(flat, image, "3", groups=2, **FAST)
    weights, directions, error = factorized(activation(flat, image, "3"), 2)
    torch.testing.assert_close(atlas.directions, directions)
    torch.testing.assert_close(atlas.weights, weights)
    assert atlas.error == pytest.approx(error) and atlas.pictures.captions == ("group 1", "group 2") and atlas.grouped


def test_drawings_say_where(flat, image, tmp_path):
    grid = Image.open(activation_atlas(flat, image, "2", cells=3, **FAST).save(tmp_path / "grid.png"))
    groups = Image.open(activation_atlas(flat, image, "3", groups=2, **FAST).save(tmp_path / "groups.png"))
    assert grid.width > grid.height and groups.width > groups.height  # two, and three above three
    with pytest.raises(ImageError, match="png"):
        activation_atlas(flat, image, "2", cells=1, **FAST).save(tmp_path / "grid.jpg")


def test_the_image_lies_on_its_grid_under_the_name_that_was_given(flat, image, monkeypatch):
    shown = []
    monkeypatch.setattr("netlens.show.sheet", lambda images, captions: shown.append((images, captions)))
    activation_atlas(flat, torch.ones(3, 40, 64), "2", cells=3, **FAST).show()
    ((images, captions),) = shown
    assert (images[0] > 0.999).all() and captions == ["image", "2"]


def test_each_map_of_a_group_is_tinted_where_its_group_is():
    from netlens.visualization._atlas import (
        distinct_colors,
        fitted_into,
        tinted,
        tinted_by_strongest,
    )

    half = torch.zeros(1, 4, 4)
    half[:, :, 2:] = 1.0
    laid = fitted_into(half, (8, 16), 0.0)[0]  # on a canvas twice as wide as the map is
    assert laid[:, :4].max() == 0 and laid[:, 12:].max() == 0 and laid[4, 5] == 0 and laid[4, 10] == 1
    assert fitted_into(half * 0.25, (8, 16), 0.0).max() == 0.25
    image, colors = torch.full((3, 8, 16), 0.5), distinct_colors(2)
    colored = tinted(image, laid, colors[0])
    assert colored[0, 4, 10] > colored[1, 4, 10] and colored[0, 4, 5] == colored[1, 4, 5]
    both = tinted_by_strongest(image, torch.stack([laid, 1 - laid]), colors)
    assert both[0, 4, 10] > both[1, 4, 10] and both[1, 4, 5] > both[0, 4, 5]


def test_a_square_map_of_an_oblong_image_is_drawn_over_all_of_it(flat, image, monkeypatch):
    atlas = activation_atlas(flat, image, "3", groups=1, **(FAST | {"cell_size": 64}))
    everywhere = replace(atlas, weights=torch.ones(1, 4, 4))
    shown = []
    monkeypatch.setattr("netlens.show.sheet", lambda images, *_, **__: shown.append(images))
    everywhere.show()
    where = shown[0][3]  # 40 of 64 rows are the image
    saturation = where.amax(0) - where.amin(0)
    assert (saturation[13:51] > 0.3).all() and (saturation[:11] == 0).all() and (saturation[53:] == 0).all()


@pytest.mark.parametrize("groups", [None, 2])
def test_it_is_the_same_in_inference_mode(flat, image, groups):
    wanted = activation_atlas(flat, image, "3", groups=groups, cells=2, **FAST)
    with torch.inference_mode():
        atlas = activation_atlas(flat, image.clone(), "3", groups=groups, cells=2, **FAST)
    assert torch.equal(atlas.pictures.images, wanted.pictures.images)


def test_each_group_is_called_by_its_number(flat, image, monkeypatch):
    captions = []
    monkeypatch.setattr("netlens.show.sheet", lambda images, texts, **_: captions.extend(texts))
    activation_atlas(flat, image, "3", groups=2, **FAST).show()
    assert captions == ["image", "group 1", "group 2", "strongest", "group 1", "group 2"]


@pytest.mark.parametrize(
    "options",
    [{"groups": 1.5}, {"groups": "2"}, {"cells": 2.5}, {"chunk": 1.5}, {"seed": -1}, {"param": "x"}, {"optimizer": 3}],
    ids=str,
)
def test_options_of_another_type_are_named(flat, image, options):
    (name,) = options
    with pytest.raises(NetLensError, match=name):
        activation_atlas(flat, image, "3", **{**FAST, **options})


def test_places_where_the_layer_is_0_are_gray_and_leave_the_others_as_they_are():
    half = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    with torch.no_grad():
        half[0].weight.fill_(1).mul_(torch.arange(1.0, 5).view(4, 1, 1, 1))
        half[0].bias.fill_(-0.5)
    flat = FlatModel.from_nn_Module(half, adapter=Adapter(preprocessing=Preprocessing(None, None, (0,) * 3, (1,) * 3)))
    image = torch.zeros(3, 2, 2)
    image[:, :, 1] = 0.9
    atlas = activation_atlas(flat, image, "1", **FAST)
    dark, light = atlas.pictures.images[[0, 2]], atlas.pictures.images[[1, 3]]
    assert (dark == 0.5).all() and light.std() > 0.01
    alone = activation_atlas(flat, image[:, :, 1:], "1", **FAST)
    torch.testing.assert_close(light, alone.pictures.images, rtol=0, atol=1e-5)
    with pytest.raises(NotApplicable, match="is 0 all over the image"):
        activation_atlas(flat, torch.zeros(3, 2, 2), "1", **FAST)


def test_errors(flat, image, monkeypatch):
    with pytest.raises(LayerNotFound):
        activation_atlas(flat, image, "22", **FAST)
    with pytest.raises(NotApplicable, match="no positions"):
        activation_atlas(flat, image, "6", **FAST)
    with pytest.raises(NetLensError, match="1 to 6 groups"):
        activation_atlas(flat, image, "2", groups=7, **FAST)
    with pytest.raises(NetLensError, match="cells"):
        activation_atlas(flat, image, "2", cells=0, **FAST)
    with pytest.raises(NotApplicable, match="above 0"):
        factorized(-torch.rand(3, 4, 4), 2)
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(NetLensError, match=r"pip install 'netlens\[atlas\]'"):
        factorized(torch.rand(3, 4, 4), 2)


def test_chunks_that_stop_at_different_steps(flat, image):
    def stop(history):
        return torch.full((history.shape[1],), len(history) >= (2 if history.shape[1] > 2 else 4))

    atlas = activation_atlas(flat, image, "2", cells=3, chunk=4, cell_size=16, steps=6, progress=False, stop=stop)
    lengths = atlas.pictures.history.isfinite().sum(0).tolist()
    assert set(lengths) == {2, 4} and len(atlas.pictures.history) == 4


def test_a_layer_that_is_not_finite_is_named(flat, image):
    with torch.no_grad():
        broken = flat.insert_after("1", "log", _Log())
    with pytest.raises(NonFiniteError, match="'log'"):
        activation_atlas(broken, image, "log", groups=2, **FAST)


class _Log(nn.Module):
    def forward(self, x):
        return x.log()
