"""Whatever makes the parts, in whatever order, and however often it is stopped: the parts have the same bytes."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
from multiprocessing import Pipe, active_children
from pathlib import Path
from threading import Event

import pytest
import torch

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.interruption import Interrupted, interruptible
from netlens.survey import Batch, Predictions, Question, State, Survey, SurveyResult, TopK
from netlens.survey._processes import Here, Processes, work
from netlens.world.folder import write_world
from tests.survey import driver, whole

ROOT = Path(__file__).parents[2]
N = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("world") / "world"
    write_world(folder, N, size=64, progress=False)
    (folder / "images" / "dotted_disc" / "broken.png").write_bytes(b"no picture")
    return str(folder / "images")


def bytes_of(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.safetensors")}


def saved(result: SurveyResult, folder: Path) -> bytes:
    return result.save(folder / "result.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole_run(data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], bytes]:
    folder = tmp_path_factory.mktemp("parts")
    result = driver.run(data, str(folder))
    assert len(result.unreadable) == 1
    return bytes_of(folder), saved(result, tmp_path_factory.mktemp("result"))


def test_two_processes_make_the_same_parts(
    data: str, whole_run: tuple[dict[str, bytes], bytes], tmp_path: Path
) -> None:
    result = driver.run(data, str(tmp_path / "parts"), workers=2)
    assert bytes_of(tmp_path / "parts") == whole_run[0]
    assert saved(result, tmp_path) == whole_run[1]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("workers", "after"), [(0, 1), (1, 4)])
def test_a_survey_that_was_killed_goes_on(
    data: str, whole_run: tuple[dict[str, bytes], bytes], tmp_path: Path, workers: int, after: int
) -> None:
    parts = tmp_path / "parts"
    command = [sys.executable, "-m", "tests.survey.driver", data, str(parts), str(workers)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        while len(bytes_of(parts)) < after and process.poll() is None:
            time.sleep(0.005)
        others = children(process.pid) if Path("/proc").is_dir() and process.poll() is None else []
        process.kill()
        errors = process.communicate()[1].decode()
    files = bytes_of(parts)
    assert len(files) >= after
    assert files.items() <= whole_run[0].items()
    assert "Traceback" not in errors  # workers end in silence
    deadline = time.monotonic() + 30
    while any(map(alive, others)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, others))
    times = {path: path.stat().st_mtime_ns for path in parts.glob("*.safetensors")}
    result = driver.run(data, str(parts))
    assert bytes_of(parts) == whole_run[0]
    assert saved(result, tmp_path) == whole_run[1]
    assert all(path.stat().st_mtime_ns == when for path, when in times.items())


def test_a_process_ends_in_silence_if_the_survey_dies_while_it_sends_the_job() -> None:
    ours, theirs = Pipe()
    os.write(ours.fileno(), struct.pack("!i", 1000) + b"the first of 1000 bytes")
    ours.close()
    handler = signal.getsignal(signal.SIGINT)
    try:
        work(theirs)
    finally:
        signal.signal(signal.SIGINT, handler)


def test_ctrl_c_ends_the_processes_and_leaves_parts(
    data: str,
    whole_run: tuple[dict[str, bytes], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    interruptible: None,
) -> None:
    make = Processes.make

    def pressed(self, job, places, done):  # type: ignore[no-untyped-def]
        def press(place):  # type: ignore[no-untyped-def]
            for process in active_children():
                assert process.pid is not None
                os.kill(process.pid, signal.SIGINT)  # a terminal sends it to all, and only one should answer
            if len(bytes_of(tmp_path / "parts")) >= 3:
                signal.raise_signal(signal.SIGINT)

        make(self, job, places, press)

    monkeypatch.setattr(Processes, "make", pressed)
    with pytest.raises(KeyboardInterrupt):
        driver.run(data, str(tmp_path / "parts"), workers=1)
    assert not active_children()
    files = bytes_of(tmp_path / "parts")
    assert 3 <= len(files) < len(whole_run[0])
    assert files.items() <= whole_run[0].items()
    assert "Traceback" not in capfd.readouterr().err


def test_the_order_in_which_parts_are_made_does_not_matter(
    data: str, whole_run: tuple[dict[str, bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Here.make

    def shuffled(self, job, places, done):  # type: ignore[no-untyped-def]
        make(self, job, random.Random(0).sample(places, len(places)), done)

    monkeypatch.setattr(Here, "make", shuffled)
    result = driver.run(data, str(tmp_path / "parts"))
    assert bytes_of(tmp_path / "parts") == whole_run[0]
    assert saved(result, tmp_path) == whole_run[1]


class Stopping:
    """A data set that raises once, before it gives a certain item."""

    def __init__(self, at: int, stop: BaseException) -> None:
        self.samples, self.at, self.stop = whole.Samples(40), at, stop
        self.reads = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
        self.reads += 1
        if index == self.at:
            raise self.stop
        return self.samples[index]

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return Stopping, (0, None), self.samples.__dict__  # the stop is no part of the data


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), MemoryError()])
def test_what_stops_a_survey_is_raised_and_finished_parts_stay(stop: BaseException, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    flat, questions = whole.flat(), [TopK("4", 2)]
    stopping = Stopping(25, stop)
    with pytest.raises(type(stop)):
        Survey(flat, stopping, questions, tmp_path, shard=8, progress=False).run()
    assert len(bytes_of(tmp_path)) == 3
    assert torch.get_num_threads() == threads
    going_on = Stopping(-1, stop)
    Survey(flat, going_on, questions, tmp_path, shard=8, progress=False).run()
    assert going_on.reads == 16


STOP = Event()


class Asking(Question):
    """A question that asks for the end of the survey."""

    def update(self, state: State, batch: Batch) -> State:
        if batch.samples[0] >= 16:
            STOP.set()
        return state

    def merge(self, a: State, b: State) -> State:
        return a

    def finish(self, state: State) -> None:
        return None


def test_a_survey_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    STOP.clear()
    with interruptible(STOP.is_set), pytest.raises(Interrupted):
        Survey(whole.flat(), whole.Samples(40), [Asking()], tmp_path, shard=8, progress=False).run()
    assert len(bytes_of(tmp_path)) == 3


class Fatal:
    """A data set that ends its process at the second part."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
        if index == 12:
            os._exit(3)
        return whole.Samples(16)[index]


def test_a_process_that_dies_is_an_error_and_finished_parts_stay(tmp_path: Path) -> None:
    with pytest.raises(NetLensError, match="ended before its work"):
        Survey(whole.flat(), Fatal(), [TopK("4", 2)], tmp_path, shard=4, workers=1, progress=False).run()
    assert len(bytes_of(tmp_path)) >= 1


class Uneven:
    """A data set whose second part takes long, so that the process of the first one ends before it."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
        if index == 7:
            time.sleep(3)
        return whole.Samples(8)[index]


def test_a_process_without_another_part_may_end_before_the_others(tmp_path: Path) -> None:
    options = {"shard": 4, "progress": False}
    survey_result = Survey(whole.flat(), Uneven(), [TopK("4", 2)], tmp_path, workers=2, **options).run()
    assert len(bytes_of(tmp_path)) == 2
    assert len(survey_result) == 8


def test_what_cannot_be_sent_to_a_process_is_refused(tmp_path: Path) -> None:
    class Local(whole.Samples):
        pass

    with pytest.raises(NetLensError, match="cannot be sent to another process"):
        Survey(whole.flat(), Local(8), [Predictions()], tmp_path, workers=1, progress=False).run()


def test_nothing_of_the_user_changes() -> None:
    network = whole.network().train()
    network.requires_grad_(True)
    flat = FlatModel.from_nn_Module(network)
    before = {name: (value.data_ptr(), value.clone()) for name, value in network.state_dict().items()}
    samples = whole.Samples(20)

    def settings() -> tuple[object, ...]:
        random_state = random.getstate(), torch.random.get_rng_state().tolist()
        return torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype(), random_state

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        around = settings()
        Survey(flat, samples, [TopK("4", 2), Predictions()], progress=False).run()
        assert settings() == around
    finally:
        torch.set_num_threads(threads)
    assert network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert value.data_ptr() == before[name][0]
        assert torch.equal(value, before[name][1])


def test_surroundings_do_not_change_the_result() -> None:
    network, samples = whole.network(), whole.Samples(20)
    for parameter in network.parameters():
        parameter.data *= 0.3  # no whole numbers, so that fewer digits show
    flat = FlatModel.from_nn_Module(network)

    def values() -> list[float]:
        return [p.value for p in Survey(flat, samples, [TopK("4", 5)], progress=False).run().top("4", 1)]

    expected = values()
    with torch.autocast("cpu"), torch.inference_mode():
        assert values() == expected
