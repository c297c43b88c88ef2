"""Peak memory and seconds of a style transfer and a dream at print size, in tiles.

    python -m benchmarks.print_size CONTENT STYLE [--model mobilenet_v2 --weights FILE] [--size 4096] [--steps 2]

Each is measured in a process of its own: the most resident memory (as Linux counts it), of which what Python, torch and
the network take before the first picture, and the seconds of a step.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

from netlens.visualization import dream
from netlens.visualization.params import pictures_of, resampled
from netlens.visualization.style import StyleTransfer
from netlens.zoo import open_network

KINDS = ("style", "dream")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("content")
    parser.add_argument("style")
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--layer", default="trunk_output.block2", help="of the dream")
    parser.add_argument("--size", type=int, default=4096, help="both sides, in pixels")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--tile", type=int, default=448)
    parser.add_argument("--param", default="fourier")
    parser.add_argument("--only", choices=KINDS, help="measure this in this process")
    options = parser.parse_args()
    if options.only:
        print(measured(options))
        return
    print("| | peak, GiB | of which the network | seconds a step |\n|---|---|---|---|")
    for kind in KINDS:
        command = [sys.executable, "-m", "benchmarks.print_size", *sys.argv[1:], "--only", kind]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def measured(options: argparse.Namespace) -> str:
    """The row of the table."""
    flat = open_network(options.model, options.weights)
    before, begin = peak(), time.perf_counter()
    if options.only == "style":
        StyleTransfer(
            size=(options.size, options.size), scales=1, steps=options.steps, tile=options.tile, param=options.param
        )(flat, options.content, options.style, progress=False)
    else:
        square = resampled(pictures_of(options.content).float(), options.size)[0]
        dream(flat, square, options.layer, progress=False, octaves=1, steps=options.steps, tile=options.tile)
    seconds = (time.perf_counter() - begin) / options.steps
    return f"| {options.only} | {peak():.2f} | {before:.2f} | {seconds:.0f} |"


def peak() -> float:
    """The most resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
