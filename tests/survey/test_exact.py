"""A survey's answers equal those of plain loops over all samples, with ties, bit for bit where no rounding is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.survey import ChannelStatistics, Predictions, RandomSample, Survey, SurveyResult, TopK
from tests.survey import whole

QUESTIONS = (TopK("4", 7), TopK("1", 3), RandomSample("4", 6), ChannelStatistics("4", 9, 0, 40), Predictions())


@pytest.fixture(scope="module")
def samples() -> whole.Samples:
    return whole.Samples(500)


@pytest.fixture(scope="module")
def survey_result(samples: whole.Samples) -> SurveyResult:
    return Survey(whole.flat(), samples, QUESTIONS, shard=37, progress=False).run()


@pytest.fixture(scope="module")
def activations(samples: whole.Samples) -> dict[str, Tensor]:
    network, values, x = whole.network(), {}, samples.images
    assert isinstance(network, nn.Sequential)
    with torch.no_grad():
        for name, layer in network.named_children():
            x = values[name] = layer(x)
    return values


@pytest.mark.parametrize(("layer", "k"), [("4", 7), ("1", 3)])
def test_the_strongest_samples_and_their_places(
    survey_result: SurveyResult, activations: dict[str, Tensor], layer: str, k: int
) -> None:
    ties = 0
    for channel in range(activations[layer].shape[1]):
        rows: list[tuple[float, int, int]] = []
        for sample, values in enumerate(activations[layer][:, channel].flatten(1).tolist()):
            highest = max(values)
            rows.append((-highest, sample, values.index(highest)))
        rows.sort()
        ties += sum(a[0] == b[0] for a, b in pairwise(rows[: k + 1]))
        width = activations[layer].shape[3]
        expected = [(-value, sample, (place // width, place % width)) for value, sample, place in rows[:k]]
        assert [(peak.value, peak.sample, peak.place) for peak in survey_result.top(layer, channel)] == expected
    assert ties > 5


def test_statistics(survey_result: SurveyResult, activations: dict[str, Tensor]) -> None:
    values = activations["4"].double().transpose(0, 1).flatten(1)
    statistics = survey_result.statistics("4")
    assert statistics.count.tolist() == [values.shape[1]] * len(values)
    assert_close(statistics.mean, values.mean(1), rtol=1e-12, atol=0)
    assert_close(statistics.variance, values.var(1, correction=0), rtol=1e-12, atol=0)
    assert torch.equal(statistics.least.double(), values.amin(1))
    assert torch.equal(statistics.most.double(), values.amax(1))
    assert torch.equal(statistics.zeros, (values == 0).double().mean(1))
    edges = [-np.inf, *statistics.edges.tolist(), np.inf]
    for channel, row in enumerate(values.numpy()):
        inside = [int(((row >= low) & (row < high)).sum()) for low, high in pairwise(edges)]
        assert statistics.histogram[channel].tolist() == inside
    assert statistics.histogram[:, -1].sum() > 0


def test_predictions(survey_result: SurveyResult, activations: dict[str, Tensor], samples: whole.Samples) -> None:
    scores, labels = activations["6"].double(), samples.labels
    predicted = survey_result.predictions
    ranked = [sorted(range(whole.CLASSES), key=lambda c, row=row: (-row[c], c))[:5] for row in scores.tolist()]
    assert predicted.top.tolist() == ranked
    assert predicted.top1 == np.mean([label == row[0] for label, row in zip(labels.tolist(), ranked, strict=True)])
    assert predicted.top5 == np.mean([label in row for label, row in zip(labels.tolist(), ranked, strict=True)])
    assert_close(survey_result.losses.values, nn.functional.cross_entropy(scores, labels, reduction="none"))
    confusion = np.zeros((whole.CLASSES, whole.CLASSES), dtype=int)
    for label, row in zip(labels.tolist(), ranked, strict=True):
        confusion[label, row[0]] += 1
    assert survey_result.confusion.tolist() == confusion.tolist()
    assert_close(predicted.per_class, torch.from_numpy(np.diag(confusion) / confusion.sum(1)))
    wrong = [(-confusion[i, j], i, j) for i in range(whole.CLASSES) for j in range(whole.CLASSES) if i != j]
    pairs = [(pair.label, pair.predicted, pair.count) for pair in predicted.pairs(8)]
    assert pairs == [(i, j, -count) for count, i, j in sorted(wrong)[:8] if count]
    order = sorted(range(len(labels)), key=lambda i: (-survey_result.losses.values[i].item(), i))
    assert [loss.sample for loss in survey_result.losses.top(20)] == order[:20]


def test_calibration(survey_result: SurveyResult, activations: dict[str, Tensor], samples: whole.Samples) -> None:
    probabilities = activations["6"].double().softmax(1)
    confidence, guess = probabilities.max(1)
    bins = 4
    calibration = survey_result.predictions.calibration(bins)
    error = 0.0
    for i in range(bins):
        inside = (confidence >= i / bins) & ((confidence < (i + 1) / bins) | (i == bins - 1))
        assert calibration.count[i] == inside.sum()
        if inside.any():
            right = (guess == samples.labels)[inside].double().mean()
            assert_close(calibration.accuracy[i], right)
            assert_close(calibration.confidence[i], confidence[inside].mean())
            error += float((right - confidence[inside].mean()).abs() * inside.double().mean())
    assert calibration.error == pytest.approx(error)


def test_a_random_sample_depends_on_the_seed_and_the_numbers_of_samples_alone(samples: whole.Samples) -> None:
    def chosen(shard: int, seed: int = 0) -> list[list[int]]:
        result = Survey(whole.flat(), samples, [RandomSample("4", 6, seed)], shard=shard, progress=False).run()
        return [[peak.sample for peak in result.random("4", channel)] for channel in range(7)]

    first = chosen(200)
    assert chosen(9) == first != chosen(200, seed=1)
    assert len({tuple(row) for row in first}) == 7
    assert all(len({*row}) == 6 for row in first)


def test_random_samples_are_spread_evenly() -> None:
    question = RandomSample("4", 1)
    numbers = torch.arange(20_000).expand(8, -1)
    ranks = question._ranks(numbers.float(), numbers)
    assert all(len(np.unique(row)) == 20_000 for row in ranks)
    for edge in (-(2**62), 0, 2**62):
        expected = 0.5 + edge / 2**64
        assert np.abs((ranks < edge).mean(1) - expected).max() < 0.02


def test_merging_is_associative_and_does_not_change_what_it_merges() -> None:
    question = TopK("x", 3)
    generator = torch.Generator().manual_seed(0)
    states: list[Any] = []
    for start in (0, 5, 10):
        pairs = {name: torch.zeros(4, 5, 2, dtype=torch.int32) for name in ("places", "maps", "sizes")}
        values = torch.randint(0, 3, (4, 5), generator=generator).float()
        states.append({"values": values, "samples": torch.arange(start, start + 5).expand(4, 5), **pairs})
    a, b, c = states
    before = a["values"].clone()
    left, right = question.merge(question.merge(a, b), c), question.merge(a, question.merge(b, c))
    turned = question.merge(c, question.merge(b, a))
    for name, values in left.items():
        assert torch.equal(values, right[name])
        assert torch.equal(values, turned[name])
    assert torch.equal(a["values"], before)


def test_samples_without_labels_count_as_predictions_only(samples: whole.Samples) -> None:
    data = [
        (image, int(label) if i % 3 else -1)
        for i, (image, label) in enumerate(zip(*[samples.images, samples.labels], strict=True))
    ]
    result = Survey(whole.flat(), data[:30], [Predictions()], progress=False).run()
    assert len(result.predictions.samples) == 30
    assert result.confusion.sum() == len(result.losses.values) == 20


def test_tokens_are_laid_out() -> None:
    from netlens import open_network
    from netlens.world.scene import scene

    data = [(scene(i).image, 0) for i in range(2)]
    vit = open_network("shapes_vit")
    layer = next(key for key in vit.layers if key.endswith("ln_1"))
    peaks = Survey(vit, data, [TopK(layer, 2)], progress=False).run().top(layer, 0)
    assert {peak.sample for peak in peaks} == {0, 1}


def test_a_network_of_maps_has_no_predictions(samples: whole.Samples) -> None:
    maps = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 4, 1)).eval())
    with pytest.raises(NotApplicable, match="one score of each class"):
        Survey(maps, samples, [Predictions()], progress=False).run()
