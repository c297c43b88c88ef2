"""Comparisons: equal networks have no distance, joined networks are those of torch, a retrained block comes first."""

from __future__ import annotations

import copy
import itertools
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

from benchmarks import little
from netlens import open_network
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.studies import Comparison, compare
from netlens.studies._both import Both
from netlens.studies._chance import chances, vectors_at
from netlens.studies._cka import linear_cka
from netlens.survey import Survey
from netlens.weights import build
from netlens.world.scene import scene
from tests.survey import whole

LAYERS = ["0", "1", "3", "4", "6"]


def biased_cka(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(0), b - b.mean(0)
    return float((a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm()))


def hsic_by_hand(k: list[list[int]], l: list[list[int]]) -> Fraction:  # noqa: E741
    """The mean of k_ij l_ij + k_ij l_qr − 2 k_ij l_iq over all different i, j, q, r (Song et al. 2012, theorem 2)."""
    total, count = Fraction(0), 0
    for i, j, q, r in itertools.permutations(range(len(k)), 4):
        total += k[i][j] * l[i][j] + k[i][j] * l[q][r] - 2 * k[i][j] * l[i][q]
        count += 1
    return total / count


def test_cka_by_hand() -> None:
    a, b = torch.tensor([[1, 2], [0, 1], [3, -1], [2, 2], [-1, 0]]), torch.tensor([[0], [1], [4], [1], [-2]])
    grams = [(one @ one.T).tolist() for one in (a, b)]
    hsic = {(i, j): float(hsic_by_hand(grams[i], grams[j])) for i in (0, 1) for j in (0, 1)}
    expected = hsic[0, 1] / (hsic[0, 0] * hsic[1, 1]) ** 0.5
    assert linear_cka(a.float(), b.float()) == pytest.approx(expected, abs=1e-12)


def test_cka_sees_no_rotation_scale_or_shift_and_has_no_bias() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 20, dtype=torch.float64, generator=generator)
    turn = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64, generator=generator))[0]
    assert linear_cka(x, 3 * x @ turn + 5) == pytest.approx(1, abs=1e-12)
    y = torch.randn(60, 500, dtype=torch.float64, generator=generator)
    assert abs(linear_cka(x, y)) < 0.1 < 0.4 < biased_cka(x, y)
    many, noisy = torch.randn(4000, 4, generator=generator), torch.randn(4000, 4, generator=generator)
    assert linear_cka(many, many + noisy) == pytest.approx(biased_cka(many, many + noisy), abs=0.01)
    assert np.isnan(linear_cka(x[:3], x[:3])) and np.isnan(linear_cka(x, torch.ones(60, 2)))
    assert linear_cka(torch.ones(9, 2), torch.ones(9, 2)) == 1


def check_same(comparison: Comparison) -> None:
    for pair in comparison.layers:
        assert pair.distance == pair.change == pair.decorrelation == 0
        assert (pair.correlation == 1).all() and (pair.shift == 0).all()
        assert torch.equal(pair.means[0], pair.means[1]) and torch.equal(pair.deviations[0], pair.deviations[1])
        assert pair.swapped == pair.stitched == comparison.accuracy[0] == comparison.accuracy[1]
        assert pair.swapped_same == pair.stitched_same == 1
    assert comparison.agreement == 1 and comparison.disagreeing == () and comparison.explained_a is None


def test_equal_networks_have_no_distance() -> None:
    check_same(compare(whole.flat(), whole.flat(), whole.Samples(50), LAYERS, progress=False))


@pytest.mark.parametrize("name", ["shapes", "shapes_vit"])
def test_a_copy_of_a_real_network_has_no_distance(name: str) -> None:
    flat = open_network(name)
    data = [(scene((7, i), 128, i).image, i) for i in range(5)]
    comparison = compare(flat, copy.deepcopy(flat), data, progress=False)
    assert 5 < len(comparison.layers) <= 24
    check_same(comparison)


@pytest.fixture(scope="module")
def different() -> Comparison:
    return compare(whole.flat(0), whole.flat(1), whole.Samples(50), LAYERS, pictures=4, progress=False)


def halves(layers: list[nn.Module], x: Tensor) -> Tensor:
    with torch.no_grad():
        return nn.Sequential(*layers)(x)


def test_networks_put_together_are_those_of_torch(different: Comparison) -> None:
    a, b = (list(whole.network(seed).children()) for seed in (0, 1))
    samples = whole.Samples(50)
    x, labels = samples.images, samples.labels
    usual = halves(a, x).argmax(1)
    start = 0
    for pair in different.layers:
        stop = int(pair.layer) + 1
        stitched = halves([*a[:stop], *b[stop:]], x).argmax(1)
        swapped = halves([*a[:start], *b[start:stop], *a[stop:]], x).argmax(1)
        assert pair.stitched == (stitched == labels).double().mean() and pair.stitched_same == (
            (stitched == usual).double().mean()
        )
        assert pair.swapped == (swapped == labels).double().mean()
        ours, theirs = halves(a[:stop], x).double(), halves([*a[:start], *b[start:stop]], x).double()
        channels = ours.transpose(0, 1).flatten(1)
        spread = (channels - channels.mean(1, keepdim=True)).square().sum()
        assert pair.change == pytest.approx(float(((theirs - ours).square().sum() / spread).sqrt()), rel=1e-12)
        start = stop
    assert len({pair.stitched for pair in different.layers}) > 2


def test_statistics_of_channels(different: Comparison) -> None:
    x = whole.Samples(50).images
    networks = [list(whole.network(seed).children()) for seed in (0, 1)]
    for pair in different.layers[:4]:
        maps = [halves(layers[: int(pair.layer) + 1], x).double().transpose(0, 1).flatten(1) for layers in networks]
        for side in (0, 1):
            assert_close(pair.means[side], maps[side].mean(1), rtol=1e-12, atol=1e-12)
            assert_close(pair.deviations[side], maps[side].std(1, correction=0), rtol=1e-12, atol=1e-12)
        for channel, correlation in enumerate(pair.correlation):
            pair_of_channels = torch.stack([maps[0][channel], maps[1][channel]])
            assert float(correlation) == pytest.approx(float(pair_of_channels.corrcoef()[0, 1]), abs=1e-10, nan_ok=True)


def test_cka_is_that_of_the_chosen_places(different: Comparison) -> None:
    x, pair = whole.Samples(50).images, different["3"]
    chance = chances(0, range(50), 3)
    maps = [halves(list(whole.network(seed).children())[:4], x) for seed in (0, 1)]
    vectors = [vectors_at(one, chance[:, 1:])[0] for one in maps]
    assert pair.distance == pytest.approx(1 - linear_cka(*vectors), abs=1e-12)
    fewer = compare(whole.flat(0), whole.flat(1), whole.Samples(50), LAYERS, samples=20, stitch=False, progress=False)
    rows = chance[:, 0].argsort()[:20]
    chosen = [one[rows] for one in vectors]
    assert fewer["3"].distance == pytest.approx(1 - linear_cka(*chosen), abs=1e-9)
    assert np.isnan(fewer["3"].stitched) and np.isnan(fewer["3"].change)


def test_pictures_on_which_they_disagree(different: Comparison) -> None:
    x = whole.Samples(50).images
    scores = [halves(list(whole.network(seed).children()), x).double() for seed in (0, 1)]
    sure = torch.minimum(*(one.softmax(1).amax(1) for one in scores))
    disagree = [i for i in range(50) if scores[0][i].argmax() != scores[1][i].argmax()]
    order = sorted(disagree, key=lambda i: (-sure[i].item(), i))[:4]
    assert different.disagreeing == tuple(f"#{i}" for i in order)
    assert different.agreement == (50 - len(disagree)) / 50
    assert different.explained_a is not None and different.explained_b is not None
    assert different.explained_a.provenance.targets == tuple(int(scores[0][i].argmax()) for i in order)
    assert different.explained_b.provenance.targets == tuple(int(scores[1][i].argmax()) for i in order)


def test_the_cut_of_the_work_changes_nothing() -> None:
    question = Both(whole.flat(1), ("1", "4"), 20, 3, 0, True)
    survey = [Survey(whole.flat(0), whole.Samples(50), [question], shard=n, progress=False).run() for n in (50, 13)]
    first, second = (result.states[0] for result in survey)
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert_close(values, second[name], rtol=1e-12, atol=0)
        if not values.is_floating_point():
            assert torch.equal(values, second[name])
    pickle.loads(pickle.dumps(question))  # as it is sent to a process


@pytest.mark.survey
def test_another_process_gives_the_same_bits() -> None:
    one, two = (
        compare(open_network(), open_network(), [(scene(i).image, i % 15) for i in range(96)], workers=n)
        for n in (0, 1)
    )
    assert torch.equal(one.confidence, two.confidence) and one.layers[2].change == two.layers[2].change
    assert torch.equal(one.layers[2].means, two.layers[2].means)


@pytest.mark.parametrize(
    "seed", [0, 3, *(pytest.param(seed, marks=pytest.mark.survey) for seed in (1, 2, 4, 5, 6, 7, 8, 9))]
)
def test_a_retrained_block_comes_first(seed: int) -> None:
    before, after, data, planted = little.retrained(seed)
    changed = compare(before, after, data, progress=False).changed
    assert changed[0].layer.startswith(planted)
    assert changed[0].change > 0.3


def test_a_network_of_another_precision_is_compared_whole() -> None:
    def flat(dtype: torch.dtype) -> FlatModel:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
        return FlatModel.from_nn_Module(model.eval().to(dtype))

    data = [(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(i)), i % 3) for i in range(8)]
    comparison = compare(flat(torch.float32), flat(torch.float16), data, progress=False)
    assert len(comparison.changed) == len(comparison.layers)
    assert all(0 < layer.change < 0.1 and layer.distance < 0.1 for layer in comparison.layers)
    assert all(layer.stitched == layer.swapped == comparison.accuracy[0] for layer in comparison.layers)


def test_other_numbers_of_channels_leave_out_what_has_no_meaning() -> None:
    def flat(width: int) -> FlatModel:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return FlatModel.from_nn_Module(model.append(nn.Linear(width, 3)).eval())

    data = [(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(i)), 0) for i in range(8)]
    comparison = compare(flat(6), flat(4), data, progress=False)
    first, last = comparison.layers
    assert np.isnan(first.change) and np.isnan(first.stitched) and len(first.correlation) == 0
    assert first.distance > 0 and first.means.shape == (2, 6) and first.means[1, 4:].isnan().all()
    assert last.stitched_same == 1 and np.isnan(last.change)
    comparison.show()


def test_comparisons_are_saved_and_drawn(different: Comparison, tmp_path: Path) -> None:
    path = different.save(tmp_path / "comparison.safetensors")
    again = Comparison.load(path)
    assert again.save(tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert again.changed[0].layer == different.changed[0].layer
    assert again.explained_a is not None and again.explained_a.provenance == different.explained_a.provenance
    for drawing in (different.show(), different.show_disagreements()):
        assert drawing.rgba().std() > 10
    with Image.open(different.save(tmp_path / "comparison.png")) as picture:
        assert picture.size == different.show().shape[::-1]


def test_the_networks_stay_as_they_were() -> None:
    a, b = whole.network(0), whole.network(1)
    before = [copy.deepcopy(network.state_dict()) for network in (a, b)]
    flats = [FlatModel.from_nn_Module(network, adapter=whole.flat().adapter) for network in (a, b)]
    compare(*flats, whole.Samples(5), ["1"], progress=False)
    for network, state in zip((a, b), before, strict=True):
        assert all(torch.equal(one, state[name]) for name, one in network.state_dict().items())


def test_what_makes_no_sense_is_refused(different: Comparison) -> None:
    a, samples = whole.flat(), whole.Samples(5)
    other = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(288, 6)).eval())
    with pytest.raises(NetLensError, match="has no layer '3'"):
        compare(a, other, samples, ["3"], progress=False)
    with pytest.raises(NetLensError, match="FlatModel"):
        compare(a, nn.ReLU(), samples)
    with pytest.raises(NetLensError, match="no layer to compare"):
        compare(a, a, samples, ["input"])
    with pytest.raises(NetLensError, match="no method"):
        compare(a, a, samples, method="gradcm")
    with pytest.raises(NetLensError, match="samples"):
        compare(a, a, samples, samples=3)
    with pytest.raises(NetLensError, match="was not compared"):
        different["2"]
    with pytest.raises(NetLensError, match="predict the same"):
        compare(a, a, samples, ["1"], progress=False).show_disagreements()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_the_one_part_with_other_weights_is_the_only_one_that_changes(name: str) -> None:
    """Skips, squeezes and branches lead around parts, and what goes around has not changed."""
    torch.manual_seed(0)
    model = build(name)
    other = copy.deepcopy(model)
    weights = [(key, weight) for key, weight in other.named_parameters() if weight.ndim > 1]
    key, weight = weights[len(weights) // 2]
    with torch.no_grad():
        weight += weight.std() * torch.randn_like(weight)
    data = [(torch.randn(3, 64, 64), i) for i in range(4)]
    a, b = FlatModel.from_nn_Module(model), FlatModel.from_nn_Module(other)
    comparison = compare(a, b, data, progress=False)
    changed = [pair for pair in comparison.layers if pair.change > 0]
    assert len(changed) == 1 and len(comparison.changed) == len(comparison.layers) > 8
    order = list(a.layers)
    before = comparison.layers[comparison.layers.index(changed[0]) - 1].layer
    assert order.index(before) < order.index(key.removesuffix(".weight")) <= order.index(changed[0].layer)
