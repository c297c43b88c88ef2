"""`make benchmark`: explanations by netlens, by its peers, and by the least possible work, in paired runs in turn.

A peer is timed in a separate process. Results are compared first. `peer` and `least` are their times, divided by the
time of netlens. `forwards` is the time of netlens, divided by that of a forward of the original network. `once` is the
additional time of flattening and of the first call. `first` is `peer` with this time, for a user with one image.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import least
from benchmarks.apart import Apart
from benchmarks.calibration import calibrated
from benchmarks.cases import Case, cases
from benchmarks.pairs import Work, in_turn, ratio
from benchmarks.plot import bars
from benchmarks.tables import write_between
from netlens.evaluation import randomize_
from netlens.flat import FlatModel
from netlens.weights import build

PAGE, FILE, PLOT = Path("docs/speed.md"), Path("docs/speed.json"), Path("images/speed.png")
WARM = 64  # the side of the image of a first, untimed run of a peer, in pixels
SMALL, FEW = 112, 20  # the side of images, and the number of images, in float64
RIVALS = {"peer", "least"}
BUDGET = 20.0  # seconds for all rounds of a case; there is at least one round


@dataclass(frozen=True)
class Row:
    """The results of a case: times in seconds, and the ratios that the module's docstring explains."""

    case: str
    network: str
    ours: float
    peer: float | None
    least: float | None
    forward: float
    once: float
    first: float | None
    difference: float | None
    goal: str

    def __str__(self) -> str:
        def shown(value: float | None, form: str) -> str:
            return "" if value is None else format(value, form)

        cells = (
            *(self.case, self.network, f"{self.ours * 1000:.0f}", shown(self.peer, ".2f"), shown(self.least, ".2f")),
            *(f"{self.forward:.2f}", f"{self.once * 1000:.0f}", shown(self.first, ".2f")),
            *(shown(self.difference, ".0e"), self.goal),
        )
        return f"| {' | '.join(cells)} |"

    def missed(self) -> list[str]:
        """The goals that are not reached, such as "peer ≥ 3"."""
        missed = []
        for goal in filter(None, self.goal.split(", ")):
            name, sign, limit = goal.split()
            value = self.forward if name == "forwards" else getattr(self, name)
            if not (value >= float(limit) if sign == "≥" else value <= float(limit)):
                missed.append(goal)
        return missed


HEADER = (
    "| case | network | ms | peer | least | forwards | once, ms | first | difference | goal |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def measure(case: Case, rounds: int) -> Row:
    x = images(case)
    for seed in range(100):
        network = random_network(case.network, seed)
        start = time.perf_counter()
        flat = FlatModel.from_nn_Module(network)
        ours = case.ours(flat, x)
        first_seconds = time.perf_counter() - start
        if (ours.amax((0, 2, 3)) > ours.amin((0, 2, 3))).all():  # a constant map cannot be compared
            break
    gaps: dict[str, float] = {}

    def check(answers: Mapping[str, Tensor]) -> None:
        gaps.update(differences(case, in_float64(case, network, x) if case.exact else answers))

    works: dict[str, Work] = {"ours": lambda: case.ours(flat, x), "forward": lambda: plain(network, x)}
    with ExitStack() as stack:
        if case.peer is not None:
            works["peer"] = stack.enter_context(Apart(by_peer, case.name, case.network, seed))
        if case.least is not None:
            bare, leanest = least.prepared(network), case.least
            works["least"] = lambda: leanest(bare, x)
        times = in_turn(works, rounds, BUDGET, check)
    once = max(0.0, first_seconds - statistics.median(times["ours"]))
    return Row(
        *(case.name, case.network, statistics.median(times["ours"])),
        ratio(times["peer"], times["ours"]) if case.peer else None,
        ratio(times["least"], times["ours"]) if case.least else None,
        ratio(times["ours"], times["forward"]),
        once,
        statistics.median(times["peer"]) / first_seconds if case.peer else None,
        gaps.get("peer"),
        case.goal,
    )


def images(case: Case) -> Tensor:
    return torch.randn(case.batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def by_peer(name: str, network: str, seed: int) -> Callable[[], Tensor]:
    """The explanation of a peer, for the same network and images. The other process makes them again from names."""
    (case,) = (case for case in cases() if (case.name, case.network) == (name, network))
    module, x = random_network(network, seed), images(case)
    assert case.peer is not None
    case.peer(module, x[..., :WARM, :WARM])  # a first run, which imports packages
    return lambda: case.peer(module, x)  # type: ignore[misc]


def differences(case: Case, answers: Mapping[str, Tensor]) -> dict[str, float]:
    """The differences of netlens from its peer and from the least work. Raise if they are above the tolerance."""
    gaps = {
        rival: case.difference(answers["ours"], answers[rival], answers["forward"]) for rival in RIVALS & answers.keys()
    }
    for rival, gap in gaps.items():
        if not gap <= case.tolerance:
            raise ValueError(f"{case.name} on {case.network}: netlens and {rival} differ by {gap:.1e}.")
    return gaps


def in_float64(case: Case, network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """All results in float64, on parts of a few images."""
    exact, small_x = copy.deepcopy(network).double(), x[:FEW, :, :SMALL, :SMALL].double()
    answers = {"ours": case.ours(FlatModel.from_nn_Module(exact), small_x), "forward": plain(exact, small_x)}
    if case.peer is not None:
        answers["peer"] = case.peer(exact, small_x)
    if case.least is not None:
        answers["least"] = case.least(least.prepared(exact), small_x)
    return answers


def random_network(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = calibrated(randomize_(build(name), seed), torch.randn(8, 3, 224, 224))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0  # because zennit ignores eps
    return network


def plain(network: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        output: Tensor = network(x)
        return output


def versions() -> str:
    from importlib.metadata import version

    peers = ", ".join(f"{name} {version(name)}" for name in ("captum", "grad-cam", "torchcam", "zennit"))
    return f"torch {torch.__version__}, {peers}, {platform.machine()}, {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="cases whose name and network contain this; the others stay")
    options = parser.parse_args()
    print(f"{versions()}; {options.rounds} rounds\n\n{HEADER}", flush=True)
    rows: list[Row] = []
    failures: list[str] = []
    for case in cases():
        if options.only in f"{case.name} {case.network}":
            gc.collect()
            try:
                rows.append(measure(case, options.rounds))
                print(rows[-1], flush=True)
            except ValueError as error:
                failures.append(str(error))
    publish(rows, earlier_rows() if options.only else [])
    if failures:
        raise SystemExit("\n".join(failures))


def earlier_rows() -> list[Row]:
    """The results of earlier runs."""
    return [Row(**row) for row in json.loads(FILE.read_text())["rows"]] if FILE.exists() else []


def publish(rows: list[Row], earlier: list[Row]) -> None:
    """Write the table, the file and the plot. A row of `earlier` stays if its case was not measured again."""
    by_case = {(row.case, row.network): row for row in (*earlier, *rows)}
    rows = [by_case[key] for case in cases() if (key := (case.name, case.network)) in by_case]
    FILE.write_text(json.dumps({"versions": versions(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    write_between(PAGE, "peers", "\n".join([f"{versions()}.", "", HEADER, *map(str, rows)]))
    bars([(f"{row.case}, {row.network}", row.peer, row.least, not row.missed()) for row in rows], PLOT)


if __name__ == "__main__":
    main()
