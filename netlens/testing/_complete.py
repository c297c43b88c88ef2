"""The claim that an attribution is complete."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netlens.attribution import Attribution
from netlens.attribution.baseline import Baseline, input_baseline
from netlens.errors import NetLensError
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.lens import NetLens
from netlens.objectives import Objective, Record
from netlens.options import checked
from netlens.show import Tile
from netlens.testing._claim import HIDDEN, Claim, Over
from netlens.testing._drawing import image_tile, map_tile

_GAP = "completeness_gap"


def assert_complete(
    attribution: Attribution,
    tolerance: float = 0.05,
    *,
    lens: NetLens | None = None,
    baselines: Baseline = 0.0,
    over: Over = "each",
) -> None:
    """Assert that the values of an attribution add up to the change of what is explained.

    Measured is the relative gap |Σ v - Δ| / |Δ|, with Δ = f(x) - f(baseline). It is infinite where f does not change,
    but the sum is not 0. Methods that promise completeness measure their gap themselves, with their own baseline
    (`attribution.diagnostics["completeness_gap"]`). With a lens, the network is run, and any values are checked.

    Args:
        attribution: The attribution of N samples.
        tolerance: The largest gap, as a share of the change, at least 0.
        lens: The network, its images and what is explained; None to read the gap that the method has measured.
        baselines: What stands for absence in the sum, with a lens; as for the method.
        over: "each" if each sample must keep the bound; "mean" if the mean over the samples must.

    Raises:
        AssertionError: A sum is too far off. The message has the numbers and the file of a picture.
        NetLensError: No gap was measured, and there is no lens; or the lens has another number of samples.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> lens = NetLens(open_network(), scene(0, label=3).image)
        >>> assert_complete(lens.deep_lift(), 0.001)
        >>> assert_complete(lens.integrated_gradients(n_steps=100), 0.1, lens=lens)

    Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365
    """
    __tracebackhide__ = HIDDEN
    checked("attribution", attribution, Attribution, hint="take what a method gives, such as lens.deep_lift()")
    tolerance = checked("tolerance", tolerance, float, least=0)
    over = checked("over", over, Over)
    total = attribution.values.detach().cpu().double().flatten(1).sum(1)
    change = _measured(attribution, total) if lens is None else _change(attribution, lens, baselines)
    gap = (total - change).abs()
    values = torch.where(gap == 0, gap, gap / change.abs())

    def rows(samples: Sequence[int]) -> list[list[Tile]]:
        drawn = []
        for i in samples:
            note = f"sum {float(total[i]):.3g}, change {float(change[i]):.3g}"
            tiles = [map_tile(attribution, i, attribution.title, note)]
            if attribution.image is not None and attribution.image.ndim != 3:  # the curve of a signal holds the signal
                tiles.insert(0, image_tile(attribution.image, i, attribution.subject(i)))
            drawn.append(tiles)
        return drawn

    Claim(
        name="assert_complete",
        sentence=f"the values of {attribution.title} add up to the change of {attribution.provenance.objective}",
        quantity="the gap between the sum and the change, as a share of the change",
        values=values,
        bound=tolerance,
        sign="≤",
        over=over,
        subjects=[attribution.subject(i) for i in range(len(values))],
        notes=[f"the sum is {float(a):.4g}, and the change {float(b):.4g}" for a, b in zip(total, change, strict=True)],
        rows=rows,
        look="More steps make the gap of a path smaller. A gap of a rule comes from a layer that it does not know, or "
        "from another baseline than the method's.",
    ).settle()


def _measured(attribution: Attribution, total: Tensor) -> Tensor:
    """(N,): the change to which the method itself compared its sum."""
    options = attribution.provenance.options
    name = attribution.title
    if _GAP not in attribution.diagnostics or attribution.reduction == "cam" or options.get("multiply") is False:
        raise NetLensError(
            f"{name} has not measured whether its values add up to something; give lens= and baselines=, or take a "
            "method that is complete, such as deep_lift or integrated_gradients."
        )
    return total - attribution.diagnostics[_GAP].detach().cpu().double()


def _change(attribution: Attribution, lens: NetLens, baselines: Baseline) -> Tensor:
    """(N,): the change of what the lens explains, from the baseline to its images."""
    checked("lens", lens, NetLens, hint="make it by NetLens(network, images)")
    if len(lens.x) != len(attribution):
        raise NetLensError(f"the attribution is of {len(attribution)} samples, but the lens has {len(lens.x)}.")
    if attribution.provenance.objective != repr(lens.objective):
        raise NetLensError(
            f"the attribution explains {attribution.provenance.objective}, but the lens {lens.objective!r}; give "
            "NetLens(..., objective=) the one that is explained."
        )
    baseline = input_baseline(lens.flat, lens.x, "input", baselines)
    return _value(lens.flat, lens.x, lens.objective) - _value(lens.flat, baseline, lens.objective)


def _value(flat: FlatModel, x: Tensor, objective: Objective) -> Tensor:
    """(N,), float64: the objective of each sample."""

    def work(start: int, stop: int) -> Tensor:
        record = Record(flat, flat.record(x[start:stop], layers=objective.layers))
        return objective.take(range(start, stop))(record).double().cpu()

    with torch.inference_mode(False), torch.no_grad():
        return torch.cat(list(in_chunks(len(x), None, work)))
