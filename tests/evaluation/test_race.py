"""A race: who leaves, and that leaving early does not change who wins."""

from __future__ import annotations

import pytest
import torch

from netlens.attribution import Saliency
from netlens.evaluation._bootstrap import interval, shares_of_wins
from netlens.evaluation.recommendation._contestants import Contestant
from netlens.evaluation.recommendation._race import FIRST, Race


def contestants(n: int, controls: int = 0) -> list[Contestant]:
    names = "abcdefghijklmnopqrstuvwxyz"[:n]
    return [Contestant(name, Saliency(), i >= n - controls) for i, name in enumerate(names)]


def table(means: torch.Tensor, n: int, noise: float, seed: int) -> torch.Tensor:
    """(contestants, n): what each contestant gets on each image; images differ, and the noise is its own."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, generator=generator)
    return (means[:, None] + images + noise * torch.randn(len(means), n, generator=generator)).double()


def race_over(scores: torch.Tensor, more: bool = True, seed: int = 0, **options) -> tuple[Race, list[tuple[str, int]]]:
    judgments: list[tuple[str, int]] = []

    def judge(one, rows):
        judgments.extend((one.name, row) for row in rows)
        return scores["abcdefghijklmnopqrstuvwxyz".index(one.name)][list(rows)]

    return Race(judge, scores.shape[1], more, seed, **options), judgments


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("more", [True, False])
def test_the_winner_is_that_of_the_full_table_and_most_scores_are_saved(seed, more):
    scores = table(torch.linspace(0, 2, 12), 64, 0.4, seed)
    race, judgments = race_over(scores, more, seed)
    racing = race.run("methods", contestants(12))
    full = scores.mean(1).argmax() if more else scores.mean(1).argmin()
    assert racing[0].name == "abcdefghijkl"[int(full)]
    assert len(judgments) == len(set(judgments)) < 0.5 * scores.numel()
    assert sum(one.scores for one in race.rounds) == len(judgments)


def test_who_is_judged_to_the_end_has_the_scores_of_the_table():
    scores = table(torch.zeros(3), 20, 1.0, 0)
    race, judgments = race_over(scores)
    racing = race.run("methods", contestants(3))
    assert len(racing) == 3  # nobody is better than chance
    assert len(judgments) == 60
    for one, row in zip(contestants(3), scores, strict=True):
        assert torch.equal(race.scores[one.name], row)
    means = [float(race.signed(one).mean()) for one in racing]
    assert means == sorted(means, reverse=True)


def test_nobody_leaves_on_few_images():
    scores = table(torch.tensor([0.0, 5.0]), FIRST - 1, 0.1, 0)
    race, _ = race_over(scores)
    assert len(race.run("methods", contestants(2))) == 2
    assert not any(one.left for one in race.rounds)


def test_a_control_makes_no_method_leave_and_leaves_itself():
    scores = table(torch.tensor([0.0, 1.0, 5.0, -5.0]), 32, 0.1, 0)  # c and d are controls
    race, _ = race_over(scores)
    racing = race.run("methods", contestants(4, controls=2))
    assert [one.name for one in racing] == ["c", "b"]
    assert set(race.rounds[0].left) == {"a", "d"}
    assert race.rounds[0].left["a"].startswith("b is better by ")


def test_images_without_meaning_are_left_out_of_the_comparison():
    scores = table(torch.tensor([0.0, 1.0]), 32, 0.1, 0)
    scores[0, ::2] = torch.nan
    race, judgments = race_over(scores)
    assert [one.name for one in race.run("methods", contestants(2))] == ["b"]
    assert len(judgments) == len(set(judgments))


def test_who_has_no_meaning_does_not_race():
    race = Race(lambda one, rows: "no layer" if one.name == "a" else torch.ones(len(rows)).double(), 10, True)
    assert [one.name for one in race.run("methods", contestants(2))] == ["b"]
    assert race.why == {"a": "no layer"}


def test_the_order_of_the_images_is_that_of_the_seed():
    scores = table(torch.zeros(2), 30, 1.0, 0)
    orders = [race_over(scores, seed=seed)[0].order for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(30))


@pytest.mark.parametrize("seed", range(10))
def test_the_best_options_survive_halving(seed):
    scores = table(torch.tensor([1.0, 0.0, 0.2, 3.0, 0.4, 0.6]), 32, 0.2, seed)
    race, judgments = race_over(scores, seed=seed)
    leader, *others = contestants(6)
    race.run("methods", [leader])
    before = len(judgments)
    assert [one.name for one in race.halve("options", others, leader)] == ["d"]
    assert len(judgments) - before < 0.6 * 5 * 32


def test_options_that_are_all_worse_leave_before_the_end():
    scores = table(torch.tensor([5.0, 0.0, 0.1, 0.2]), 64, 0.2, 0)
    race, judgments = race_over(scores)
    leader, *others = contestants(4)
    race.run("methods", [leader])
    assert race.halve("options", others, leader) == []
    assert max(sum(name == one.name for name, _ in judgments) for one in others) == FIRST


def test_an_interval_is_that_of_numpy():
    import numpy as np

    differences = torch.randn(40, generator=torch.Generator().manual_seed(3)).double()
    means = np.random.default_rng(0).choice(differences.numpy(), (20000, 40)).mean(1)
    assert interval(differences, 0.9) == pytest.approx(np.quantile(means, [0.05, 0.95]).tolist(), abs=0.02)
    assert interval(differences[:1], 0.9) == (-torch.inf, torch.inf)


def test_shares_of_wins_sum_to_1_and_split_ties():
    assert shares_of_wins(torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])) == [0.5, 0.5, 0.0]
    shares = shares_of_wins(torch.rand(5, 9, generator=torch.Generator().manual_seed(0)))
    assert sum(shares) == pytest.approx(1)
