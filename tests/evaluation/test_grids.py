"""Grids: which pictures they are made of, and scores by hand, on a network that reads one color for each class."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens import open_network
from netlens.attribution import InputXGradient, Occlusion
from netlens.errors import NetLensError
from netlens.evaluation import Case, ConstantMap, Explanation, evaluate, grids
from netlens.evaluation.metrics import EnergyInside, PointingGame
from netlens.flat import FlatModel
from netlens.world.scene import batch


class Colors(nn.Module):
    """The score of a class is ten times the mean of its channel."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * x.mean((2, 3))


@pytest.fixture(scope="module")
def colors() -> FlatModel:
    return FlatModel.from_nn_Module(Colors(), example=torch.rand(1, 5, 4, 4).double())


def painted(*strengths: float, side: int = 4) -> Tensor:
    """(5, 5, side, side): picture i has only channel i, of this strength."""
    return torch.diag(torch.tensor(strengths).double())[:, :, None, None].expand(-1, -1, side, side).clone()


STRONG = painted(1, 1, 1, 1, 1)


def test_each_class_of_a_grid_is_explained_and_its_cell_is_the_mask(colors):
    one = grids(colors, STRONG, count=3, seed=1)
    assert one.x.shape == (12, 5, 8, 8)
    for grid, mask, target in zip(one.x, one.masks, one.explained.targets(colors, 12), strict=True):
        assert mask.sum() == 16
        assert (grid[target][mask] == 1).all()
        assert (grid[target][~mask] == 0).all()
    assert one.masks.flatten(1).double().argmax(1).tolist() == [0, 4, 32, 36] * 3
    assert all(torch.equal(one.x[i], one.x[0]) for i in range(4))
    assert not torch.equal(one.x[4], one.x[0])
    assert torch.equal(grids(colors, STRONG, count=3, seed=1).x, one.x)


def test_the_score_of_what_reads_the_cell_is_one_and_chance_is_one_of_all_cells(colors):
    one = grids(colors, STRONG, rows=1, columns=3, count=2)
    assert one.x.shape == (6, 5, 4, 12)
    assert_close(EnergyInside()(Explanation.of(one, InputXGradient())), torch.ones(6).double())
    assert_close(PointingGame()(Explanation.of(one, InputXGradient())), torch.ones(6).double())
    assert_close(EnergyInside()(Explanation.of(one, ConstantMap())), torch.full((6,), 1 / 3).double())


def test_only_pictures_of_which_the_network_is_certain_are_used(colors):
    x = painted(1, 1, 0.1, 1, 1)  # softmax of (0, 0, 1, 0, 0): 0.40
    labels = [0, 1, 2, 3, 0]  # the last is wrong
    used = grids(colors, x, [0, 1, 2, 3, 4], count=5).explained.targets(colors, 20)
    assert set(used) == {0, 1, 3, 4}
    assert set(grids(colors, x, confidence=0.3, count=5).explained.targets(colors, 20)) == {0, 1, 2, 3, 4}
    assert set(grids(colors, x, labels, rows=1, columns=3, count=5).explained.targets(colors, 15)) == {0, 1, 3}
    with pytest.raises(NetLensError, match=r"grid of 4 cells needs as many classes.* of 3"):
        grids(colors, x, labels)
    with pytest.raises(NetLensError, match="4 labels for 5"):
        grids(colors, x, labels[:4])
    with pytest.raises(NetLensError, match="at least two cells"):
        grids(colors, x, rows=1, columns=1)


def test_the_most_certain_picture_of_a_class_comes_first(colors):
    x = torch.cat([painted(0.6, 0.6, 0.6, 0.6, 0.6), painted(1, 1, 1, 1, 1)])
    two = grids(colors, x, rows=1, columns=2, count=2)
    assert_close(two.x.amax((1, 2, 3)), torch.tensor([1, 1, 0.6, 0.6]).double())


def test_disconnected_cells_have_no_effect_at_all(colors):
    one = grids(colors, STRONG, disconnected=True, count=2)
    assert (one.masks == one.masks[0]).all()
    assert one.masks[0, :4, :4].all()
    elsewhere = torch.where(one.masks[:, None], one.x, torch.rand(one.x.shape).double())
    assert_close(one.values_of(range(8), lambda rows: elsewhere[list(rows)]), one.values)
    assert_close(one.values, torch.full((8,), 10 / 4).double())
    for method in (InputXGradient(), Occlusion(window=2, stride=2)):
        assert_close(EnergyInside()(Explanation.of(one, method)), torch.ones(8).double())
    assert_close(EnergyInside()(Explanation.of(one, ConstantMap())), torch.full((8,), 0.25).double())


def test_a_small_grid_is_as_large_as_a_picture(colors):
    one = grids(colors, painted(1, 1, 1, 1, 1, side=5), shrink=True, count=1)
    assert one.x.shape == (4, 5, 5, 5)
    assert one.masks.sum((1, 2)).tolist() == [4] * 4
    assert (one.x[:, :, 4] == 0).all()
    assert_close(EnergyInside()(Explanation.of(one, InputXGradient())), torch.ones(4).double())


def test_the_bundled_transformer_takes_one_size():
    flat = open_network("shapes_vit")
    pictures, labels, _ = batch(7, 12)
    x = flat.adapter.preprocessing.normalize(pictures / 255)
    with pytest.raises(NetLensError, match="128"):
        grids(flat, x, labels.tolist(), count=1)
    assert grids(flat, x, labels.tolist(), count=1, shrink=True).x.shape == (4, 3, 128, 128)


def test_explanations_of_a_scene_lie_in_its_cell_and_controls_are_at_chance():
    flat = open_network()
    pictures, labels, _ = batch(7, 12)
    x = flat.adapter.preprocessing.normalize(pictures / 255)
    for disconnected, least in ((False, 0.5), (True, 0.99)):
        one = grids(flat, x, labels.tolist(), count=1, disconnected=disconnected)
        assert isinstance(one, Case)
        table = evaluate(one, ["lrp"], ["energy_inside"])
        assert table.of("LRP", "energy_inside").mean > least
        assert table.of("RandomMap", "energy_inside").mean == pytest.approx(0.25, abs=0.02)
