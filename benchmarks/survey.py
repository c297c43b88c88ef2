"""`python -m benchmarks.survey`: what a survey costs beside the bare forward, and its memory for more and more images.

Times are processor time on one thread, on scenes of the little world, the best of several rounds in which all cases
take turns. The time to read the pictures is measured alone and taken off. Memory is the peak of a separate process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.tables import write_between
from netlens.fast import arranged, fast
from netlens.flat import FlatModel
from netlens.survey import ChannelStatistics, Predictions, Question, RandomSample, Survey, TopK
from netlens.weights import build
from netlens.world.folder import write_world

PAGE = Path("docs/survey.md")
SIZE, BATCH = 224, 32
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


def seconds(work: Callable[[], object]) -> float:
    """The processor time of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def times(files: list[Path], rounds: int) -> str:
    """A table of processor times per image."""
    torch.set_num_threads(1)
    flat = FlatModel.from_nn_Module(build("mobilenet_v2"))
    twin = fast(flat)
    x = arranged(torch.randn(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)), twin)

    def bare() -> None:
        with torch.no_grad():
            for _ in range(len(files) // BATCH):
                twin(x)

    def read() -> None:
        for file in files:
            flat.adapter.preprocessing(file)

    def surveyed(questions: tuple[Question, ...]) -> Callable[[], object]:
        return lambda: Survey(flat, files, questions, progress=False).run()

    work = {"bare": bare, "read": read, **{name: surveyed(questions) for name, questions in CASES.items()}}
    best = dict.fromkeys(work, float("inf"))
    for _ in tqdm(range(rounds)):
        best = {name: min(best[name], seconds(part)) for name, part in work.items()}
    per = {name: 1000 * value / len(files) for name, value in best.items()}
    rows = ["| what | ms per image | without reading, times the bare forward |", "|---|--:|--:|"]
    rows.append(f"| the bare forward of the fast version | {per['bare']:.1f} | 1 |")
    rows.append(f"| to read a picture of {SIZE} × {SIZE} | {per['read']:.1f} | |")
    rows += [f"| {name} | {per[name]:.1f} | {(per[name] - per['read']) / per['bare']:.2f} |" for name in CASES]
    return "\n".join(rows)


def peak(folder: str, n: int) -> float:
    """The peak of the resident memory, in MiB, of a survey of n images, made in this process."""
    files = sorted(Path(folder).rglob("images/*/*.png"))
    many = (files * (n // len(files) + 1))[:n]
    flat = FlatModel.from_nn_Module(build("squeezenet1_1"))
    questions = (Predictions(), TopK("features.12"), ChannelStatistics("features.12"))
    Survey(flat, many, questions, progress=False).run()
    # not ru_maxrss, in which a process starts with the peak of the one that started it
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def memory(folder: str, counts: list[int]) -> str:
    """A table of memory against the number of images."""
    rows = ["| images | MiB |", "|--:|--:|"]
    for n in tqdm(counts):
        command = [sys.executable, "-m", "benchmarks.survey", "--peak", folder, str(n)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append(f"| {n:,} | {float(found):.0f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="+", default=[250, 1000, 3000])
    parser.add_argument("--peak", nargs=2, metavar=("FOLDER", "N"), help="used within: print one peak")
    arguments = parser.parse_args()
    if arguments.peak is not None:
        print(peak(arguments.peak[0], int(arguments.peak[1])))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_world(Path(temporary) / "world", arguments.images, size=SIZE)
        write_between(PAGE, "times", times(sorted(folder.rglob("images/*/*.png")), arguments.rounds))
        write_between(PAGE, "memory", memory(str(folder), arguments.counts))


if __name__ == "__main__":
    main()
