"""`make matrix`: flatten all of torchvision's classification networks and compare each with its original.

Every network gets random weights and batch norm statistics, so that nothing is hidden by zeros and ones. The exit code
is not 0 if a network cannot be flattened, or if an output differs by more than 1e-5 of the largest output.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from tqdm import tqdm

from benchmarks.tables import write_between
from netlens.evaluation import randomize_
from netlens.flat import FlatModel
from netlens.weights import build

TOLERANCE = 1e-5  # relative; only networks whose fused attention is written out in pieces may need a tolerance
HEAD = "| network | layers | opaque | output | seconds to flatten |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """The result for one network. `difference` is relative to the largest output; it is 0 only if outputs are equal."""

    network: str
    family: str
    layers: int
    opaque: int
    difference: float
    seconds: float
    error: str = ""

    @property
    def passed(self) -> bool:
        return not self.error and self.difference <= TOLERANCE

    @property
    def verdict(self) -> str:
        if self.error:
            return self.error
        return "equal" if self.difference == 0 else f"{self.difference:.1e}"

    def __str__(self) -> str:
        return f"| {self.network} | {self.layers} | {self.opaque} | {self.verdict} | {self.seconds:.2f} |"


def measure(name: str) -> Row:
    network = randomize_(build(name))
    family = type(network).__name__
    try:
        gc.collect()  # otherwise, the timing may include the collection of the previous network
        start = time.perf_counter()
        flat = FlatModel.from_nn_Module(network)
        seconds = time.perf_counter() - start
        size = flat.adapter.preprocessing.size
        assert size is not None
        x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected, actual = network(x), flat(x)
    except Exception as error:  # one failing network must not hide the other 79
        return Row(name, family, 0, 0, float("inf"), 0.0, f"{type(error).__name__}: {error}".split("\n")[0])
    difference = 0.0
    if not torch.equal(expected, actual):
        difference = ((expected - actual).abs().max() / expected.abs().max()).item()
    return Row(name, family, len(flat.layers), len(flat.opaque), difference, seconds)


def families(rows: Sequence[Row]) -> str:
    """One line per family, for the README."""
    lines = ["| family | networks | layers | opaque | output against the original |", "|---|---|---|---|---|"]
    for family in dict.fromkeys(row.family for row in rows):
        members = [row for row in rows if row.family == family]
        counts = sorted(row.layers for row in members)
        layers = f"{counts[0]} to {counts[-1]}" if counts[0] < counts[-1] else str(counts[0])
        equal = sum(row.difference == 0 for row in members)
        worst = max(row.difference for row in members)
        verdict = "equal, bit for bit" if equal == len(members) else f"within {worst:.0e}"
        names = members[0].network if len(members) == 1 else f"{members[0].network} … ({len(members)})"
        lines.append(f"| {names} | {len(members)} | {layers} | {sum(r.opaque for r in members)} | {verdict} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="networks; by default all of torchvision.models")
    parser.add_argument("--write", action="store_true", help="also put the tables into README.md and docs/networks.md")
    options = parser.parse_args(arguments)
    names = options.names or torchvision.models.list_models(module=torchvision.models)
    FlatModel.from_nn_Module(torch.nn.Identity())  # finds the adapters, once per process
    rows: list[Row] = []
    print(HEAD)
    for name in tqdm(names, disable=None):
        rows.append(measure(name))
        print(rows[-1], flush=True)
    failed = [row.network for row in rows if not row.passed]
    print(f"\n{families(rows)}")
    equal = sum(row.difference == 0 for row in rows)
    print(f"\n{len(rows) - len(failed)} of {len(rows)} pass, {equal} of them equal bit for bit")
    if failed:
        print(f"failed: {', '.join(failed)}")
    if options.write:
        write_between(Path("docs/networks.md"), "matrix", "\n".join([HEAD, *map(str, rows)]))
        write_between(Path("README.md"), "matrix", families(rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
