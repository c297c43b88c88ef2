"""Everything that a part depends on changes its name: weights, questions, preprocessing, samples, code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from netlens import open_network
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.heatmaps import ResultError
from netlens.survey import ChannelStatistics, Survey, TopK
from netlens.survey.fingerprint import fingerprint
from tests.survey import whole

QUESTIONS = (TopK("4", 2),)


def parts(
    folder: Path, flat: FlatModel | None = None, data: Any = None, questions: Any = QUESTIONS, **options: Any
) -> set[str]:
    """The names of the parts that a survey makes; those of earlier surveys stay in the folder."""
    before = {path.name for path in folder.glob("*")}
    data = whole.Samples(20) if data is None else data
    survey = Survey(
        whole.flat() if flat is None else flat, data, questions, folder, shard=10, progress=False, **options
    )
    survey.run()
    return {path.name for path in folder.glob("*")} - before


def changed_weight() -> FlatModel:
    network = whole.network()
    with torch.no_grad():
        network[6].bias[3] += 1e-6  # type: ignore[index, operator]
    return FlatModel.from_nn_Module(network, adapter=whole.flat().adapter, name="whole")


def other_layer() -> FlatModel:
    network = whole.network()
    network[4] = nn.LeakyReLU(0.0)  # type: ignore[index, operator, assignment]
    return FlatModel.from_nn_Module(network, adapter=whole.flat().adapter, name="whole")


@pytest.mark.parametrize(
    "other",
    [
        lambda: {"flat": whole.flat(seed=1)},
        lambda: {"flat": changed_weight()},
        lambda: {"flat": other_layer()},
        lambda: {"flat": whole.flat(mean=0.5)},
        lambda: {"preprocessing": replace(whole.flat().adapter.preprocessing, mean=(0.25,) * 3)},
        lambda: {"questions": (TopK("4", 3),)},
        lambda: {"questions": (TopK("1", 2),)},
        lambda: {"questions": (TopK("4", 2), ChannelStatistics("4"))},
        lambda: {"data": whole.Samples(20, seed=1)},
    ],
)
def test_what_differs_has_parts_of_its_own(other: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    assert len(parts(tmp_path)) == 2
    assert parts(tmp_path) == set()  # they are there
    assert len(parts(tmp_path, **other())) == 2
    assert parts(tmp_path, **other()) == set()


def test_a_weight_that_changes_in_place_is_seen(tmp_path: Path) -> None:
    network = whole.network()
    flat = FlatModel.from_nn_Module(network)
    assert len(parts(tmp_path, flat)) == 2
    with torch.no_grad():
        network[0].weight.data[0, 0, 0, 0] += 1  # type: ignore[index, operator]
    assert len(parts(tmp_path, flat)) == 2


def test_a_part_that_was_renamed_or_damaged_is_refused(tmp_path: Path) -> None:
    first, second = sorted(parts(tmp_path))
    content = (tmp_path / first).read_bytes()
    (tmp_path / first).write_bytes((tmp_path / second).read_bytes())
    with pytest.raises(ResultError, match="another survey"):
        parts(tmp_path)
    (tmp_path / first).write_bytes(content[:-10])
    with pytest.raises(ResultError, match="damaged"):
        parts(tmp_path)


@pytest.mark.parametrize("name", ["shapes", "shapes_vit"])
def test_a_network_has_one_fingerprint_before_and_after_a_run(name: str) -> None:
    flat = open_network(name)
    before = fingerprint((flat.program.steps, flat.adapter))
    with torch.no_grad():
        flat(torch.zeros(1, 3, 128, 128))
    assert fingerprint((flat.program.steps, flat.adapter)) == before
    assert fingerprint((open_network(name).program.steps, flat.adapter)) == before


def test_it_is_the_same_in_another_process() -> None:
    code = (
        "from tests.survey.whole import *; from netlens.survey.fingerprint import fingerprint;"
        "f = flat(); print(fingerprint((f.program.steps, f.adapter, {'a', 'b', 'c'}, Samples(3))))"
    )
    flat = whole.flat()
    here = fingerprint((flat.program.steps, flat.adapter, {"a", "b", "c"}, whole.Samples(3)))
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def scaled(factor: float) -> Callable[[float], float]:
    return lambda x: factor * x


def helped(x: float) -> float:
    return OFFSET + x


OFFSET = 1


@dataclass(frozen=True)
class Options:
    number: float


def test_values_that_differ_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    class One:
        @property
        def size(self) -> int:
            return 1

    first = One()
    values: list[Any] = [
        None, 0, 0.0, False, "", b"", [], (), {}, set(), [[]], [1, 2], [12], ["1", "2"], {1: 2}, {"1": 2}, ["a", None],
        torch.zeros(2), torch.zeros(2, 1), torch.zeros(2).double(), torch.zeros(0), torch.tensor(0.0), scaled(1.0),
        scaled(2.0), len, max, nn.ReLU(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), Options(1.0), Options(2.0), Options,
        torch.float32, torch.float64, torch.device("cpu"), first, Path("a"), Path("b"), slice(1), slice(2), helped,
    ]  # fmt: skip
    fingerprints = [fingerprint(value) for value in values]
    assert len({*fingerprints}) == len(values)
    assert [fingerprint(value) for value in values] == fingerprints
    before = fingerprint(helped)
    monkeypatch.setitem(globals(), "OFFSET", 2)
    assert fingerprint(helped) != before

    before = fingerprint(first)
    One.size = property(lambda self: 2)  # type: ignore[assignment, method-assign]
    assert fingerprint(first) != before


def test_values_may_refer_to_themselves_and_views_count_by_their_numbers_and_strides() -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    assert fingerprint(circle) == fingerprint(circle)
    x = torch.arange(6.0).view(2, 3)
    assert fingerprint(x.T) == fingerprint(x.clone().T) != fingerprint(x.T.contiguous())
    shared = [3]
    assert fingerprint([shared, shared]) == fingerprint([[3], [3]])


def test_what_has_no_content_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(NetLensError, match="a TextIOWrapper cannot be told"):
        fingerprint([file])
