"""`make matrix METHODS=all`: every method on one network of each family: whether it applies, and why not.

Networks have random weights, and batch norms with statistics of noise. Methods explain the predicted class with few
steps, samples and channels. This checks whether the values exist, are finite and are not constant; it does not check
whether they are good.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.calibration import calibrated
from benchmarks.tables import write_between
from netlens.attribution import METHODS, Method, method_named
from netlens.errors import NotApplicable
from netlens.evaluation import randomize_
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.objectives import logit
from netlens.weights import build

FAMILIES = (
    *("alexnet", "vgg11_bn", "resnet18", "densenet121", "googlenet", "inception_v3", "mobilenet_v2"),
    *("mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "mnasnet0_5", "squeezenet1_1", "regnet_y_400mf"),
    *("convnext_tiny", "vit_b_32", "swin_t", "swin_v2_t", "maxvit_t"),
)
FIXED = ("vit_b_32", "maxvit_t")  # networks that take images of one size only
SIZE = 128
FEW = {"n_steps": 3, "n_samples": 4, "n_masks": 8, "n_segments": 8, "window": 64, "stride": 64}
# negative contributions stay, because a random network may have no positive ones
FEW |= {"n_channels": 16, "grid_size": 4, "relu": False}
MARK = "methods"


@dataclass(frozen=True)
class Cell:
    """The result of one method on one network: a `refusal`, an `error`, or neither if it applies."""

    method: str
    network: str
    seconds: float
    refusal: str = ""
    error: str = ""

    def __str__(self) -> str:
        return "**error**" if self.error else "–" if self.refusal else "✓"


def few(name: str) -> Method:
    """The method with few steps, samples and masks."""
    method = method_named(name)()
    names = {field.name for field in fields(method)}
    return replace(method, **{option: value for option, value in FEW.items() if option in names})


def measure(name: str, network: str, flat: FlatModel, x: Tensor, target: int) -> Cell:
    start = time.perf_counter()
    refusal = error = ""
    try:
        values = few(name)(flat, x, logit(target)).values
        if values.min() == values.max():
            error = "the same value everywhere"
    except NotApplicable as why:
        refusal = str(why).replace(flat.name, "the network")
    except Exception as why:  # one failing method must not hide the others
        error = f"{type(why).__name__}: {why}".split("\n")[0]
    return Cell(name, network, time.perf_counter() - start, refusal, error)


def table(cells: Sequence[Cell]) -> str:
    """A table with a row per method and a column per network. The reasons of refusals and errors are below it."""
    networks = list(dict.fromkeys(cell.network for cell in cells))
    methods = list(dict.fromkeys(cell.method for cell in cells))
    by_name = {(cell.method, cell.network): cell for cell in cells}
    lines = [f"| method | {' | '.join(networks)} |", f"|---|{'---|' * len(networks)}"]
    lines += [f"| {method} | {' | '.join(str(by_name[method, n]) for n in networks)} |" for method in methods]
    reasons: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell.refusal or cell.error:
            reasons.setdefault((cell.method, cell.refusal or cell.error), []).append(cell.network)
    lines += [
        "",
        *(
            f"- {method}, {', '.join(networks_of_reason)}: {why}"
            for (method, why), networks_of_reason in reasons.items()
        ),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=FAMILIES, help="networks; by default one of each family")
    parser.add_argument("--methods", default="all", help="methods by name, separated by commas, or all")
    parser.add_argument("--write", action="store_true", help="also put the table into docs/methods.md")
    options = parser.parse_args(arguments)
    names = list(METHODS) if options.methods == "all" else options.methods.split(",")
    cells: list[Cell] = []
    for network in tqdm(options.networks, disable=None):
        module = randomize_(build(network))
        size = adapter_of(module).preprocessing.size if network in FIXED else (SIZE, SIZE)
        assert size is not None
        x, *noise = torch.randn(9, 1, 3, *size, generator=torch.Generator().manual_seed(0))
        flat = FlatModel.from_nn_Module(calibrated(module, torch.cat(noise)), name=network)
        with torch.inference_mode():
            target = int(flat.logits(flat(x)).argmax())
        row = [measure(name, network, flat, x, target) for name in names]
        cells += row
        apply = sum(not (cell.refusal or cell.error) for cell in row)
        print(f"{network}: {apply} of {len(row)} apply, {sum(cell.seconds for cell in row):.0f} s", flush=True)
        for cell in row:
            if cell.error:
                print(f"  {cell.method}: {cell.error}", flush=True)
    print(f"\n{table(cells)}")
    broken = sum(bool(cell.error) for cell in cells)
    print(f"\n{len(cells)} combinations: {sum(str(cell) == '✓' for cell in cells)} apply, {broken} errors")
    if options.write:
        write_between(Path("docs/methods.md"), MARK, table(cells))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
