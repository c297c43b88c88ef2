"""Shapley values, sampled and by regression, against their definition on every coalition."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import KernelShap, ShapleyValueSampling, patches
from netlens.attribution.perturbation._kernel_shap import (
    Plan,
    subset,
)
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import logit

NAMES = ["branches", "vit", "vectors", "resnet"]


def mask_of(case, count: int) -> Tensor:
    """Features (…) of one sample: patches of a picture, strides of a vector."""
    if not case.spatial:
        return torch.arange(case.x[0].numel()) % count
    return patches(*case.x.shape[2:], count)


def game_of(case, sample: int, mask: Tensor, count: int, baseline: float) -> dict[frozenset, float]:
    """The class score of one sample for every coalition of features, by plain forwards of the network."""
    x, values = case.x[sample], {}
    for size in range(count + 1):
        for members in combinations(range(count), size):
            on = torch.isin(mask, torch.tensor(members, dtype=torch.long))
            with torch.no_grad():
                score = case.module(torch.where(on, x, baseline)[None])[0, case.targets[sample]]
            values[frozenset(members)] = float(score)
    return values


def shapley_values(game: dict[frozenset, float], count: int) -> Tensor:
    """The definition: what a feature adds, averaged over all orders."""
    values = torch.zeros(count, dtype=torch.float64)
    for feature in range(count):
        for coalition in (c for c in game if feature not in c):
            weight = math.factorial(len(coalition)) * math.factorial(count - len(coalition) - 1)
            values[feature] += weight / math.factorial(count) * (game[coalition | {feature}] - game[coalition])
    return values


def per_feature(values: Tensor, mask: Tensor, count: int) -> Tensor:
    """(count,): one number per feature, of which all entries have the same."""
    numbers = [values[..., mask == feature].unique() for feature in range(count)]
    assert all(len(each) == 1 for each in numbers)
    return torch.cat(numbers)


@pytest.mark.parametrize(("name", "count"), [*((name, 6) for name in NAMES), ("vit", 8), ("plain", 3), ("plain", 1)])
def test_kernel_shap_on_all_coalitions_gives_the_shapley_values(cases, name, count):
    case, mask = cases[name], mask_of(cases[name], count)
    method = KernelShap(mask, baselines=0.2, n_samples=max(2, 2**count - 2))
    result = method(case.flat, case.x, logit(list(case.targets)))
    for i in range(2):
        expected = shapley_values(game_of(case, i, mask, count, 0.2), count)
        assert_close(per_feature(result.values[i], mask, count), expected, rtol=1e-8, atol=1e-8 * expected.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_all_orders_give_the_shapley_values(cases, name, monkeypatch):
    case, mask = cases[name], mask_of(cases[name], 4)
    orders = [torch.tensor(order) for order in permutations(range(4))]
    monkeypatch.setattr(ShapleyValueSampling, "_order", lambda self, count, number: orders[number])
    result = ShapleyValueSampling(mask, baselines=0.2, n_samples=24)(case.flat, case.x, logit(list(case.targets)))
    for i in range(2):
        expected = shapley_values(game_of(case, i, mask, 4, 0.2), 4)
        assert_close(per_feature(result.values[i], mask, 4), expected, rtol=1e-9, atol=1e-9 * expected.abs().max())


def test_an_order_gives_what_each_feature_adds_to_those_before_it(cases):
    case, mask = cases["vit"], mask_of(cases["vit"], 6)
    method = ShapleyValueSampling(mask, n_samples=3, seed=4)
    values = method(case.flat, case.x, logit(list(case.targets))).values
    game = game_of(case, 1, mask, 6, 0.0)
    expected = torch.zeros(6, dtype=torch.float64)
    orders = [method._order(6, number).tolist() for number in range(3)]
    assert orders[1] == orders[0][::-1] and sorted(orders[2]) == list(range(6)) and orders[2] not in orders[:2]
    for order in orders:
        for place, feature in enumerate(order):
            expected[feature] += (game[frozenset(order[: place + 1])] - game[frozenset(order[:place])]) / 3
    assert_close(per_feature(values[1], mask, 6), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "method", [ShapleyValueSampling(n_samples=3), KernelShap(n_samples=31), KernelShap(n_samples=4)]
)
def test_the_values_sum_to_the_change_of_the_objective(method, case):
    count = 6
    mask = mask_of(case, count)
    options = {"feature_mask": mask, "baselines": 0.2, "n_samples": method.n_samples}
    objective = logit(list(case.targets))
    values = type(method)(**options)(case.flat, case.x, objective).values

    def scores(x: Tensor) -> Tensor:
        return case.flat.logits(case.flat(x)).gather(1, torch.tensor(case.targets)[:, None])[:, 0]

    change = scores(case.x) - scores(torch.full_like(case.x, 0.2))
    sums = torch.stack([per_feature(each, mask, count).sum() for each in values])
    assert_close(sums, change, rtol=1e-10, atol=1e-12)


class Pairs(nn.Module):
    """x' A x / 2 + b x, in which only pairs of features interact."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        half = torch.randn(7, 7, dtype=torch.float64, generator=generator)
        self.both = nn.Parameter(half + half.T)
        self.alone = nn.Parameter(torch.randn(7, dtype=torch.float64, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return ((x @ self.both) * x / 2 + self.alone * x).sum(1, keepdim=True)


def test_an_order_and_its_reverse_share_pairs_fairly():
    """With a zero baseline each of two features gets half of their product; one order gives it all to the later."""
    module = Pairs()
    flat = FlatModel.from_nn_Module(module)
    x = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = ((x @ module.both) * x / 2 + module.alone * x).detach()
    for seed in (0, 1):
        assert_close(ShapleyValueSampling(n_samples=2, seed=seed)(flat, x, logit(0)).values, expected)
    once = ShapleyValueSampling(n_samples=2, antithetic=False)(flat, x, logit(0)).values
    assert (once - expected).abs().max() > 0.1
    # pairs of complements do the same for the regression, far from all 126 coalitions
    assert_close(KernelShap(n_samples=40)(flat, x, logit(0)).values, expected)


def test_more_samples_come_nearer(cases):
    case, mask = cases["vit"], mask_of(cases["vit"], 8)
    exact = KernelShap(mask, n_samples=254)(case.flat, case.x, logit(0)).values
    spread = exact.std()
    for method, few, many in ((ShapleyValueSampling, 2, 60), (KernelShap, 20, 180)):
        errors = [
            (method(mask, n_samples=n, seed=1)(case.flat, case.x, logit(0)).values - exact).pow(2).mean().sqrt()
            for n in (few, many)
        ]
        assert errors[1] < errors[0] / 2 and errors[1] < spread / 5


def test_one_or_two_features_with_a_pencil():
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, 0] * x[:, 1] + x[:, 1])[:, None]

    flat = FlatModel.from_nn_Module(Product())
    x = torch.tensor([[3.0, 5.0]], dtype=torch.float64)
    for method in (ShapleyValueSampling, KernelShap):
        # f is 0, 0, 5 and 20 with neither, the first, the second and both: the first adds 0 or 15, the second 5 or 20
        assert_close(method(n_samples=2)(flat, x, logit(0)).values[0].tolist(), [7.5, 12.5])
        one = method(torch.tensor([0, 0]), n_samples=2)(flat, x, logit(0)).values[0]
        assert_close(one.tolist(), [20.0, 20.0])


# the coalitions that KernelSHAP tries


@pytest.mark.parametrize("count", [2, 3, 6, 7])
def test_a_full_plan_is_every_coalition_once_with_the_kernels_weight(count):
    plan = Plan.of(count, 2**count - 2, seed=0)
    assert plan.total == 2**count - 2 == Plan.of(count, 10**6, seed=0).total
    coalitions = set()
    for index in range(plan.total):
        on = plan.coalition(index)
        size = int(on.sum())
        kernel = (count - 1) / (math.comb(count, size) * size * (count - size))
        assert plan.weight(index) == pytest.approx(kernel, rel=1e-12)
        coalitions.add(tuple(on.tolist()))
    assert len(coalitions) == 2**count - 2


@pytest.mark.parametrize(("count", "n_samples"), [(6, 61), (7, 40), (50, 1000), (50, 7), (2048, 100)])
def test_a_plan_within_a_budget(count, n_samples):
    """The whole budget, in complementary pairs, weighing together what the kernel weighs."""
    plan = Plan.of(count, n_samples, seed=3)
    assert plan.total == n_samples
    total = sum((count - 1) / (size * (count - size)) for size in range(1, count))
    assert sum(plan.weight(i) for i in range(n_samples)) == pytest.approx(total, rel=1e-9)
    tried = [plan.coalition(i) for i in range(n_samples)]
    assert all(torch.equal(a, ~b) for a, b in zip(tried[0 : n_samples - 1 : 2], tried[1::2], strict=True))
    assert all(0 < on.sum() < count for on in tried)
    if (count, n_samples) == (50, 1000):  # sizes 1 and 49 are all tried, as a fifth of the kernel's weight is theirs
        singles = {int(on.nonzero()[0]) for on in tried if on.sum() == 1}
        assert len(singles) == 50 and [stratum.size for stratum in plan.whole] == [1]
        # with 101 they could be, but all but one would be spent on a fifth
        assert Plan.of(50, 101, seed=3).whole == ()


def test_drawn_sizes_follow_the_kernel():
    plan = Plan.of(30, 20, seed=0)
    assert not plan.whole
    wide = Plan(30, (), plan.drawn, 20_000, seed=0)
    counts = torch.zeros(31, dtype=torch.float64)
    for index in range(0, 20_000, 2):
        counts[int(wide.coalition(index).sum())] += 1
    shares = counts / counts.sum()
    expected = torch.tensor([0.0] + [1 / (s * (30 - s)) * (1 if s < 15 else 0.5) for s in range(1, 16)] + [0.0] * 15)
    expected = expected.double() / expected.sum()
    error = (expected * (1 - expected) / 10_000).sqrt()
    assert ((shares - expected).abs() <= 4 * error).all()


def test_subsets_come_in_lexical_order():
    for count, size in ((5, 1), (5, 3), (6, 6), (7, 4)):
        subsets = [tuple(subset(count, size, rank)) for rank in range(math.comb(count, size))]
        assert subsets == list(combinations(range(count), size))


def test_too_few_samples_are_refused():
    for method, least in ((ShapleyValueSampling, 1), (KernelShap, 2)):
        with pytest.raises(NetLensError, match=f"n_samples is {least - 1}, but must be .* of at least {least}"):
            method(n_samples=least - 1)
