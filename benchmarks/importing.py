"""`python -m benchmarks.importing`: the processor time of importing netlens, beside that of torch and torchvision."""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 5
CODE = """
import time
begin = time.process_time()
import torch, torchvision
middle = time.process_time()
{statement}
print(middle - begin, time.process_time() - middle)
"""
STATEMENTS = ("import netlens", "from netlens import NetLens", "from netlens import NetLens, visualization")


def main() -> None:
    print("| statement | seconds of the processor | share of torch and torchvision |\n|---|---|---|")
    for statement in STATEMENTS:
        command = [sys.executable, "-c", CODE.format(statement=statement)]
        runs = []
        for _ in range(ROUNDS):
            peers, ours = map(float, subprocess.check_output(command, text=True).split())
            runs.append((ours, ours / peers))
        seconds, share = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"| `{statement}` | {seconds:.2f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
