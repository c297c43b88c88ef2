"""Engines: processes, Ray and torchrun make the same bytes, also when they are killed at random moments."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from netlens.errors import NetLensError
from netlens.survey import Predictions, Survey, TopK
from netlens.survey.settings import Settings
from netlens.world.folder import write_world
from tests.survey import driver, whole

ROOT = Path(__file__).parents[2]
N = 120
Bytes = dict[str, bytes]

long = pytest.mark.survey


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("world") / "world"
    write_world(folder, N, size=64, progress=False)
    (folder / "images" / "dotted_disc" / "broken.png").write_bytes(b"no picture")
    return str(folder / "images")


@pytest.fixture(scope="module")
def expected(data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bytes, bytes]:
    """The bytes of the parts and of the result, made in this process."""
    folder = tmp_path_factory.mktemp("expected")
    result = driver.run(data, str(folder / "parts")).save(folder / "result.safetensors")
    return bytes_of(folder / "parts"), result.read_bytes()


def bytes_of(folder: Path) -> Bytes:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def command(engine: str, workers: int, data: str, folder: Path) -> list[str]:
    """A survey of this engine in a process of its own, with parts and a result in this folder."""
    start = [sys.executable, "-m"]
    if engine == "torchrun":
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(workers), "-m"]
    number = "0" if engine == "torchrun" else str(workers)
    return [
        *start, "tests.survey.driver", data, str(folder / "parts"), number, engine, str(folder / "result.safetensors"),
    ]  # fmt: skip


def run(engine: str, workers: int, data: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(engine, workers, data, folder), cwd=ROOT, capture_output=True, text=True)


def below(pid: int) -> Iterator[int]:
    """The processes that this one has started, and those that they have."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield child
        yield from below(child)


def works(pid: int) -> bool:
    """Whether a process makes parts. Ray's own processes end a minute after the program that has started them."""
    try:
        name = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
    return "MapWorker" in name or "ray" not in name


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@long
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("engine", ["process", "ray", "torchrun"])
def test_each_engine_makes_the_same_bytes(
    engine: str, workers: int, data: str, expected: tuple[Bytes, bytes], tmp_path: Path
) -> None:
    process = run(engine, workers, data, tmp_path)
    assert process.returncode == 0, process.stderr
    assert bytes_of(tmp_path / "parts") == expected[0]
    assert (tmp_path / "result.safetensors").read_bytes() == expected[1]


@long
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("engine", ["process", "ray"])
def test_a_survey_that_is_killed_again_and_again_goes_on(
    engine: str, workers: int, data: str, expected: tuple[Bytes, bytes], tmp_path: Path
) -> None:
    """Twenty kills of each engine: 7 for one worker, 7 for two, 6 for three, at random moments of a run."""
    draw = random.Random(f"{engine} {workers}")
    start = time.monotonic()
    assert run(engine, workers, data, tmp_path / "whole").returncode == 0
    length, kills = time.monotonic() - start, 0
    parts = tmp_path / "parts"
    while kills < (6 if workers == 3 else 7):
        with subprocess.Popen(
            command(engine, workers, data, tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                # half of all kills come while parts are written: the program takes long to start
                process.wait(length * draw.uniform(*draw.choice([(0, 1), (0.6, 1)])))
            except subprocess.TimeoutExpired:
                kills += 1
            others = list(filter(works, below(process.pid)))
            process.kill()
        files = bytes_of(parts)
        assert files.items() <= expected[0].items()
        deadline = time.monotonic() + 60
        while any(map(alive, others)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(alive, others))
        if len(files) == len(expected[0]):  # so that there is work for the next one
            shutil.rmtree(parts)
    assert run(engine, workers, data, tmp_path).returncode == 0
    assert bytes_of(parts) == expected[0]
    assert (tmp_path / "result.safetensors").read_bytes() == expected[1]


@long
@pytest.mark.parametrize("engine", ["process", "ray", "torchrun"])
def test_ctrl_c_leaves_a_survey_that_goes_on(
    engine: str, data: str, expected: tuple[Bytes, bytes], tmp_path: Path, interruptible: None
) -> None:
    with subprocess.Popen(
        command(engine, 2, data, tmp_path), cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while len(bytes_of(tmp_path / "parts")) < 2 and process.poll() is None:
            time.sleep(0.01)
        others = list(below(process.pid))
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all processes
        try:
            process.communicate(timeout=120)
        finally:
            process.kill()  # else a failure would wait for it without end
    files = bytes_of(tmp_path / "parts")
    assert 2 <= len(files) < len(expected[0])
    assert files.items() <= expected[0].items()
    deadline = time.monotonic() + 60
    while any(map(alive, others)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, others))
    assert run(engine, 2, data, tmp_path).returncode == 0
    assert (tmp_path / "result.safetensors").read_bytes() == expected[1]


@long
def test_a_process_of_torchrun_that_is_killed_ends_all_and_parts_stay(
    data: str, expected: tuple[Bytes, bytes], tmp_path: Path
) -> None:
    with subprocess.Popen(
        command("torchrun", 2, data, tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while len(bytes_of(tmp_path / "parts")) < 3 and process.poll() is None:
            time.sleep(0.01)
        os.kill(max(below(process.pid)), signal.SIGKILL)
        assert process.wait(120) != 0
    files = bytes_of(tmp_path / "parts")
    assert len(files) >= 3 and files.items() <= expected[0].items()
    assert run("torchrun", 2, data, tmp_path).returncode == 0
    assert (tmp_path / "result.safetensors").read_bytes() == expected[1]


@long
def test_errors_of_an_actor_are_those_of_the_survey(tmp_path: Path) -> None:
    samples = whole.Samples(12)
    samples.labels[7] = whole.CLASSES
    survey = Survey(whole.flat(), samples, [TopK("4", 2), Predictions()], tmp_path, 3, 1, "ray", progress=False)
    import ray.data  # its import sets names in the environment, for later

    before = dict(os.environ), signal.getsignal(signal.SIGTERM)  # its start sets more
    with pytest.raises(NetLensError, match="sample 7 has the label 6"):
        survey.run()
    assert (dict(os.environ), signal.getsignal(signal.SIGTERM)) == before
    assert len(bytes_of(tmp_path)) <= 2
    assert not ray.is_initialized()


def survey(folder: Path | None, **options: Any) -> Survey:
    return Survey(whole.flat(), whole.Samples(20), [TopK("4", 3), Predictions()], folder, 6, progress=False, **options)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun tells a process that is alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))


def test_torchrun_gives_the_same_bytes(one_process: None, tmp_path: Path) -> None:
    plain = survey(tmp_path / "a").run().save(tmp_path / "a.safetensors")
    for name in ("b", "c"):  # groups of two surveys do not mix
        other = survey(tmp_path / name, engine="torchrun").run().save(tmp_path / f"{name}.safetensors")
        assert other.read_bytes() == plain.read_bytes()
        assert bytes_of(tmp_path / name) == bytes_of(tmp_path / "a")
        assert not dist.is_initialized()


def test_a_group_of_the_program_stays(one_process: None, tmp_path: Path) -> None:
    dist.init_process_group("gloo")
    try:
        survey(tmp_path, engine="torchrun").run()
        assert dist.is_initialized()
        assert len(bytes_of(tmp_path)) == 4
    finally:
        dist.destroy_process_group()


def test_engines_that_cannot_run_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NetLensError, match="engine"):
        survey(None, engine="spark")
    with pytest.raises(NetLensError, match="torchrun --nproc-per-node"):
        survey(tmp_path, engine="torchrun").run()
    with pytest.raises(NetLensError, match="leave workers=0"):
        survey(tmp_path, engine="torchrun", workers=2).run()
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NetLensError, match=r"netlens\[ray\]"):
        survey(tmp_path, engine="ray").run()


def test_torchrun_needs_a_folder(one_process: None) -> None:
    with pytest.raises(NetLensError, match="needs parts="):
        survey(None, engine="torchrun").run()


def test_a_machine_of_another_kind_is_refused() -> None:
    cpu = torch.device("cpu")
    settings = Settings.now(cpu)
    settings.agree(cpu)
    for other in (replace(settings, machine="other"), replace(settings, versions=("3.9", "2.0", "0.0"))):
        with pytest.raises(NetLensError, match="last digits would differ"):
            other.agree(cpu)
