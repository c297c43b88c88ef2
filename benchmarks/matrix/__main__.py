"""`make matrix`: the table of a collection of networks.

Exits non-zero if a network has no flat model, or one whose output differs by more than 1e-5 of its largest value.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.matrix._collections import COLLECTIONS
from benchmarks.matrix._measure import METHODS
from benchmarks.matrix._processes import rows_of
from benchmarks.matrix._row import Row
from benchmarks.matrix._tables import SUMMARY, plain, summary, with_methods
from benchmarks.tables import read_between, write_between

RESULTS = Path("out/matrix")
MARK = "collections"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", choices=COLLECTIONS)
    parser.add_argument("names", nargs="*", help="networks; by default all of the collection")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run, and measure the rest")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no network after this time")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS, help="methods that run, too")
    parser.add_argument("--memory", type=float, default=12.0, help="gigabytes that one network may take")
    parser.add_argument("--write", action="store_true", help="also put the tables into README.md and docs/networks.md")
    options = parser.parse_args(arguments)
    collection = COLLECTIONS[options.collection]
    methods = options.methods if collection.methods else ()
    names = options.names or [subject.name for subject in collection.subjects()]
    path, start = Path(collection.rows_file or RESULTS / f"{options.collection}.jsonl"), time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    by_name = read(path) if options.resume else {}
    path.write_text("".join(row.to_json() + "\n" for row in by_name.values()))
    missing = [name for name in names if name not in by_name]
    for row in tqdm(rows_of(options.collection, missing, methods, options.memory), total=len(missing), disable=None):
        by_name[row.network] = row
        with path.open("a") as file:
            file.write(row.to_json() + "\n")
        print(line_of(row), flush=True)
        if time.monotonic() - start > 60 * options.minutes:
            break
    rows = [by_name[name] for name in names if name in by_name]
    table = with_methods(rows) if collection.methods else plain(rows)
    print(f"\n{table}\n\n{SUMMARY}\n{summary(collection.title, rows)}")
    failed = [row.network for row in rows if not row.passed]
    took = sum(row.took for row in rows) / 60
    print(f"\n{len(rows) - len(failed)} of {len(names)} pass; {took:.0f} minutes of the processor")
    if failed:
        print(f"failed: {', '.join(failed)}")
    if options.write:
        write_between(Path(collection.page), collection.mark, table)
        write_summary(Path("README.md"), summary(collection.title, rows))
    return 1 if failed or len(rows) < len(names) else 0


def write_summary(page: Path, line: str) -> None:
    """Put the line of a collection into the table of all collections, in the place of its old line."""
    title = line.split("|")[1]
    lines = [row for row in read_between(page, MARK).splitlines() if row.split("|")[1] != title]
    order = [f" {collection.title} " for collection in COLLECTIONS.values()]
    rows = sorted([*lines[2:], line], key=lambda row: order.index(row.split("|")[1]))
    write_between(page, MARK, "\n".join([SUMMARY, *rows]))


def read(path: Path) -> dict[str, Row]:
    """The rows of an earlier run, by network."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row.network: row for row in map(Row.from_json, lines)}


def line_of(row: Row) -> str:
    """A row as one line, for whoever watches the run."""
    reasons = row.unbuilt or row.refusal or "; ".join(dict.fromkeys(row.opaque.values()))
    return f"{row.network}: {row.layers} layers, {len(row.opaque)} opaque, {row.verdict} {reasons}"


if __name__ == "__main__":
    sys.exit(main())
