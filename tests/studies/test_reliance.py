"""What a network relies on: a planted watermark comes first; scores, choices and regions are those of plain loops."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import watermark
from netlens.errors import LayerNotFound, NetLensError
from netlens.studies import Reliance, reliance
from netlens.studies._regions import Regions, strongest
from netlens.studies._reliance import standardized, uniformity_of
from netlens.survey import Survey
from netlens.world.network import normalize
from tests.survey import whole


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.survey) for seed in range(2, 10))])
def test_a_planted_watermark_comes_first(seed: int) -> None:
    flat = watermark.learned(seed, lambda label: label == 0)
    images, labels, corners = watermark.scenes(seed + 100, 150, lambda label: label == 0)
    plain, _, _ = watermark.scenes(seed + 100, 150, lambda label: False)
    hits = [(flat(normalize(x))[labels == 0].argmax(1) == 0).double().mean() for x in (images, plain)]
    assert hits[0] > 0.9 and hits[1] < 0.3  # the network does rely on it
    data = list(zip(images, labels.tolist(), strict=True))
    watermark_study = reliance(flat, data, 0, "block3", progress=False)
    assert watermark_study.pictures == 50
    assert watermark.share_on(watermark_study.clusters[0], corners, 6) >= 0.9
    assert watermark_study.clusters[0].score > 0.15


@pytest.mark.survey
@pytest.mark.parametrize("seed", range(3))
def test_a_watermark_that_tells_nothing_does_not_come_first(seed: int) -> None:
    """All classes carry it, so a network that has learned to tell them apart does not rely on it."""
    flat = watermark.learned(seed, lambda label: True, steps=300)
    images, labels, corners = watermark.scenes(seed + 100, 150, lambda label: True)
    watermark_study = reliance(flat, list(zip(images, labels.tolist(), strict=True)), 0, "block3", progress=False)
    assert watermark.share_on(watermark_study.clusters[0], corners, 6) < 0.5


def test_the_strongest_places_do_not_touch() -> None:
    generator = torch.Generator().manual_seed(0)
    relevance = torch.randint(-3, 6, (20, 5, 7), generator=generator).double()
    relevance[3] = -1
    places, shares = strongest(relevance, 3)
    for one, at, share in zip(relevance.tolist(), places.tolist(), shares.tolist(), strict=True):
        left = {(r, c): one[r][c] for r in range(5) for c in range(7) if one[r][c] > 0}
        total = sum(left.values())
        for i in range(3):
            best = min(left, key=lambda place: (-left[place], place), default=None)
            if best is None:
                assert share[i] == 0
                continue
            assert tuple(at[i]) == best and share[i] == left[best] / total
            left = {p: v for p, v in left.items() if max(abs(p[0] - best[0]), abs(p[1] - best[1])) > 1}


def question(samples: int = 512) -> Regions:
    return Regions("4", 2, "input_x_gradient", 2, samples, 0)


def test_regions_do_not_depend_on_the_cut_and_are_chosen_by_chance() -> None:
    samples = whole.Samples(80)
    states = [
        Survey(whole.flat(), samples, [question()], shard=shard, progress=False).run().states[0] for shard in (80, 11)
    ]
    for name, values in states[0].items():
        assert torch.equal(values, states[1][name])
    fewer = Survey(whole.flat(), samples, [question(5)], shard=11, progress=False).run().states[0]
    indices = fewer["samples"].unique()
    assert len(indices) == 5
    pairs = {(float(c), int(s)) for c, s in zip(states[0]["chance"], states[0]["samples"], strict=True)}
    assert sorted(indices.tolist()) == sorted(sample for _, sample in sorted(pairs)[:5])
    everything = states[0]["samples"]
    assert torch.equal(fewer["vectors"], states[0]["vectors"][torch.isin(everything, indices)])
    assert all(samples.labels[sample] == 2 for sample in everything.tolist())
    activation = torch.nn.Sequential(*list(whole.network().children())[:5])(samples.images[samples.labels == 2])
    values = activation.double().transpose(0, 1).flatten(1)
    assert torch.equal(states[0]["sums"], values.sum(1)) and int(states[0]["count"]) == values.shape[1]
    expected = ((states[0]["vectors"].double() - values.mean(1)) / values.std(1, correction=0)).nan_to_num()
    expected = expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(standardized(states[0]), expected, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def study() -> Reliance:
    return reliance(whole.flat(), whole.Samples(80), 2, "4", clusters=3, progress=False)


def test_scores_are_those_of_pairs(study: Reliance) -> None:
    state = Survey(whole.flat(), whole.Samples(80), [Regions("4", 2, study.method, 3, 512, 0)], progress=False).run()
    vectors, of = standardized(state.states[0]), state.states[0]
    everything = [
        (state.names[sample], *place)
        for sample, place in zip(of["samples"].tolist(), of["places"].tolist(), strict=True)
    ]
    total = of["shares"].sum()
    assert sum(map(len, study.clusters)) == len(everything)
    for cluster in study.clusters:
        rows = [everything.index((name, *p)) for name, p in zip(cluster.names, cluster.places.tolist(), strict=True)]
        cosines = [float(vectors[i] @ vectors[j]) for i, j in itertools.combinations(rows, 2)]
        assert cluster.uniformity == pytest.approx(sum(cosines) / len(cosines))
        assert cluster.relevance == pytest.approx(float(of["shares"][rows].sum() / total))
        assert cluster.score == pytest.approx(cluster.relevance * max(0, cluster.uniformity))
        assert cluster.coverage == len(set(cluster.names)) / study.pictures
        assert cluster.shares.tolist() == sorted(cluster.shares.tolist(), reverse=True)
    scores = [cluster.score for cluster in study.clusters]
    assert scores == sorted(scores, reverse=True)


def test_one_region_is_no_pattern() -> None:
    assert uniformity_of(torch.ones(1, 2)) == 0
    assert uniformity_of(torch.tensor([[1.0, 0], [-1, 0]])) == -1


def test_a_reliance_is_saved_and_drawn(study: Reliance, tmp_path: Path) -> None:
    path = study.save(tmp_path / "reliance.safetensors")
    again = Reliance.load(path)
    assert again.save(tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert again.clusters[0].names == study.clusters[0].names
    assert study.show().rgba().std() > 10


def test_what_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, samples = whole.flat(), whole.Samples(20)

    def unlabeled() -> list[tuple[Tensor, int]]:
        return [(image, -1) for image in samples.images]

    with pytest.raises(NetLensError, match="no picture of class 2"):
        reliance(flat, unlabeled(), 2, "4", progress=False)
    with pytest.raises(LayerNotFound):
        reliance(flat, samples, 2, "nothing")
    with pytest.raises(NetLensError, match="each"):
        reliance(flat, samples, 2, "4", each=0)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(NetLensError, match=r"pip install 'netlens\[atlas\]'"):
        reliance(flat, samples, 2, "4")


def test_the_text_of_a_study_is_one_line(study: Reliance) -> None:
    """A notebook keeps it beside the drawing."""
    text = repr(study)
    assert text.startswith("Reliance(network='") and "\n" not in text and len(text) < 300
