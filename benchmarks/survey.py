"""`python -m benchmarks.survey`: what a survey costs beside the bare forward, by several processes, and for ImageNet.

Costs are processor time on one thread. A survey alternates between forwards and the rest of its work, and each is
compared with the forwards beside it, so that other work on the machine slows both. The pictures are preprocessed, and
the time to read one is measured alone. The speed of processes is wall time between the first part and the last, in
rounds in which the cases take turns. Memory is the peak of a separate process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.tables import write_between
from netlens.fast import arranged, fast
from netlens.flat import FlatModel
from netlens.preprocessing import Preprocessing
from netlens.survey import ChannelStatistics, Predictions, Question, RandomSample, Survey, TopK
from netlens.weights import build
from netlens.world.folder import write_world

PAGE = Path("docs/survey.md")
SIZE, BATCH = 224, 32
IMAGENET = 1_281_167
LAYERS = ("features.4", "features.7", "features.14", "features.18")
CASES: dict[str, tuple[Question, ...]] = {
    "`Predictions`": (Predictions(),),
    "and `TopK` of 4 layers": (Predictions(), *map(TopK, LAYERS)),
    "and `RandomSample` of them": (Predictions(), *map(TopK, LAYERS), *map(RandomSample, LAYERS)),
    "and `ChannelStatistics` of them": (
        Predictions(),
        *map(TopK, LAYERS),
        *map(RandomSample, LAYERS),
        *map(ChannelStatistics, LAYERS),
    ),
}
ALL = list(CASES.values())[-1]


class Stored:
    """A data set of preprocessed pictures in memory, which takes no time to read."""

    def __init__(self, n: int, images: Tensor) -> None:
        self.n, self.images = n, images

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index % len(self.images)], index % 10


def network() -> FlatModel:
    return FlatModel.from_nn_Module(build("mobilenet_v2"))


def stored(files: list[Path], flat: FlatModel, n: int) -> Stored:
    return Stored(n, torch.cat([flat.adapter.preprocessing(file) for file in files[:BATCH]]))


class Forwards:
    """Notes when the forwards of a survey start, and how long they take, while its `with` block runs."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.times: list[float] = []
        self._record = FlatModel.record

    def __enter__(self) -> Forwards:
        noted, record = self, self._record

        def timed(self: FlatModel, *arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            activations = record(self, *arguments, **options)
            noted.starts.append(start)
            noted.times.append(time.process_time() - start)
            return activations

        FlatModel.record = timed  # type: ignore[method-assign]
        return self

    def __exit__(self, *error: object) -> None:
        FlatModel.record = self._record  # type: ignore[method-assign]

    @property
    def ratio(self) -> float:
        """The time between the starts of the first and the last forward, over the time of the forwards in it."""
        return (self.starts[-1] - self.starts[0]) / sum(self.times[:-1])


def alternating(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """The shortest processor time of `first`, and the median of that of `second` over that of `first`."""
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        clock = [time.process_time()]
        for work in (first, second):
            work()
            clock.append(time.process_time())
        times.append((clock[1] - clock[0], clock[2] - clock[1]))
    return min(a for a, _ in times), median(b / a for a, b in times)


def costs(files: list[Path], rounds: int) -> tuple[str, float]:
    """A table of processor times over that of the bare forward; and the seconds per image of `ALL`, with reading."""
    torch.set_num_threads(1)
    flat = network()
    twin, data = fast(flat), stored(files, flat, 6 * BATCH)
    x = arranged(data.images, twin)
    keys = tuple(flat.keys_of([*LAYERS, "output"]))

    def bare() -> None:
        with torch.no_grad():
            twin(x)

    def record_layers() -> None:
        with torch.no_grad():
            twin.record(x, layers=keys)

    def read() -> None:
        for file in files[:BATCH]:
            flat.adapter.preprocessing(file)

    ratios: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in tqdm(range(rounds)):
        for name, questions in CASES.items():
            with Forwards() as forwards:
                Survey(flat, data, questions, shard=2 * BATCH, progress=False).run()
            ratios[name].append(forwards.ratio)
    forward, keeping = alternating(bare, record_layers, 4 * rounds)
    _, reading = alternating(bare, read, 2 * rounds)
    per = 1000 * forward / BATCH
    relative_times = {
        "the bare forward of the fast version": 1.0,
        "the forward that keeps 4 layers": keeping,
        **{name: median(values) for name, values in ratios.items()},
        f"to read a picture of {SIZE} × {SIZE}": reading,
    }
    rows = [
        "| what | times the bare forward | ms per image, where the forward takes its shortest time |",
        "|---|--:|--:|",
    ]
    rows += [f"| {name} | {ratio:.2f} | {ratio * per:.1f} |" for name, ratio in relative_times.items()]
    return "\n".join(rows), (median(list(ratios.values())[-1]) + reading) * per / 1000


def rate(flat: FlatModel, data: Any, workers: int) -> float:
    """Images per second between the first part of the last process to start and the last part."""
    with tempfile.TemporaryDirectory() as parts:
        Survey(flat, data, (Predictions(), TopK(LAYERS[2])), parts, BATCH, workers, progress=False).run()
        written = sorted(path.stat().st_mtime_ns for path in Path(parts).glob("*.safetensors"))
    first = 2 * workers  # by then, all processes work
    return BATCH * (len(written) - 1 - first) / (written[-1] - written[first]) * 1e9


def processes(files: list[Path], rounds: int, n: int) -> str:
    """A table of the speed of one process and of two."""
    flat = network()
    pictures = (files * (n // len(files) + 1))[:n]
    rows = ["| data | images per second, one process | two processes | times one |", "|---|--:|--:|--:|"]
    for name, data in (("preprocessed", stored(files, flat, n)), ("pictures on disk", pictures)):
        pairs = [(rate(flat, data, 1), rate(flat, data, 2)) for _ in tqdm(range(rounds))]
        one, two = map(median, zip(*pairs, strict=True))
        ratios = sorted(b / a for a, b in pairs)
        rows.append(f"| {name} | {one:.0f} | {two:.0f} | {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        "\n".join(rows)
        + f"\n\nThe load of the machine was {load} in the last 1, 5 and 15 minutes, this benchmark included."
    )


def peak(folder: str, n: int) -> float:
    """The peak of the resident memory, in MiB, of a survey of n small pictures, made in this process."""
    files = sorted(Path(folder).rglob("images/*/*.png"))
    many = (files * (n // len(files) + 1))[:n]
    flat = FlatModel.from_nn_Module(build("squeezenet1_1"))
    questions = (Predictions(), TopK("features.12"), ChannelStatistics("features.12"))
    small = Preprocessing((64, 64), None, (0.5,) * 3, (0.25,) * 3)
    Survey(flat, many, questions, preprocessing=small, progress=False).run()
    # not ru_maxrss, in which a process starts with the peak of the one that started it
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def memory(folder: str, counts: list[int]) -> str:
    """A table of memory against the number of images."""
    rows = ["| images | MiB |", "|--:|--:|"]
    for n in tqdm(counts):
        command = [sys.executable, "-m", "benchmarks.survey", "--peak", folder, str(n)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append(f"| {n:,} | {float(output):.0f} |")
    return "\n".join(rows)


def plan(files: list[Path], per_image: float) -> str:
    """A table of what a survey of ImageNet's training set would take, on paper: a part grows by a bit per sample."""
    flat = network()
    sizes = []
    for n in (BATCH, 2 * BATCH):
        with tempfile.TemporaryDirectory() as parts:
            Survey(flat, stored(files, flat, n), ALL, parts, n, progress=False).run()
            sizes.append(sum(path.stat().st_size for path in Path(parts).glob("*.safetensors")))
    slope = (sizes[1] - sizes[0]) / BATCH
    rows = ["| samples of a part | parts | size of all parts |", "|--:|--:|--:|"]
    for shard in (64, 1024, 4096):
        parts_ = -(-IMAGENET // shard)
        size = parts_ * (sizes[1] + slope * (shard - 2 * BATCH)) / 2**30
        rows.append(f"| {shard:,} | {parts_:,} | {size:.1f} GiB |")
    hours = (
        f"The time is {IMAGENET:,} × {1000 * per_image:.1f} ms = {IMAGENET * per_image / 3600:.1f} hours of one core."
    )
    return "\n".join(rows) + f"\n\n{hours}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=("costs", "processes", "memory"), help="some tables")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=5, help="rounds of one process and two")
    parser.add_argument("--images", type=int, default=1024, help="the images that one process and two look at")
    parser.add_argument("--counts", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--peak", nargs=2, metavar=("FOLDER", "N"), help="used within: print one peak")
    arguments = parser.parse_args()
    if arguments.peak is not None:
        print(peak(arguments.peak[0], int(arguments.peak[1])))
        return
    only = arguments.only or ("costs", "processes", "memory")
    with tempfile.TemporaryDirectory() as temporary:
        files = sorted(write_world(Path(temporary) / "world", 128, size=SIZE).rglob("images/*/*.png"))
        if "costs" in only:
            table, per_image = costs(files, arguments.rounds)
            write_between(PAGE, "times", table)
            write_between(PAGE, "plan", plan(files, per_image))
        if "processes" in only:
            write_between(PAGE, "processes", processes(files, arguments.pairs, arguments.images))
        if "memory" in only:
            small = write_world(Path(temporary) / "small", 250, size=64)
            write_between(PAGE, "memory", memory(str(small), arguments.counts))


if __name__ == "__main__":
    main()
