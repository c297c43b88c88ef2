"""`python -m benchmarks.matrix.smallest`: the smallest network of each module of `timm.models`, by parameters.

Networks are built without memory for their weights. The list goes to `timm_families.txt`.
"""

from __future__ import annotations

import sys
import warnings

import timm
import torch
from tqdm import tqdm

from benchmarks.matrix._timm import FAMILIES, by_module


def parameters(name: str) -> int | None:
    """The number of parameters of a network; None if it cannot be built without memory."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = timm.create_model(name)
    except Exception as error:
        print(f"{name} is left out: {type(error).__name__}: {error}".split("\n")[0], file=sys.stderr)
        return None
    size: int = sum(parameter.numel() for parameter in network.parameters())
    return size


def main() -> None:
    lines = []
    for module, names in tqdm(by_module().items(), disable=None):
        sizes = [(size, name) for name in names if (size := parameters(name)) is not None]
        size, name = min(sizes)
        lines.append(f"{module} {name} {size}\n")
    FAMILIES.write_text("".join(lines))


if __name__ == "__main__":
    main()
