"""Several methods on one input: the forward and the backward that they have in common run once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

from netlens.attribution.batch import owned
from netlens.attribution.engine import recorded
from netlens.attribution.method import Method
from netlens.attribution.recording import Recording, playing
from netlens.attribution.samples import whole_or_singly
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.model import OUTPUT
from netlens.flat.source import unchanged
from netlens.objectives import Objective


@contextmanager
def together(
    methods: Sequence[Method], flat: FlatModel, x: Tensor, objective: Objective, wrt: str = "input"
) -> Iterator[Tensor]:
    """Within the block, these methods, called with the x that it gives, share one plain forward and backward.

    The values are the same as without. What a method needs beyond the plain run (other inputs, other rules) is its own.

    >>> from netlens.attribution import GradCAM, Saliency
    >>> from netlens.objectives import logit
    >>> flat = FlatModel.from_nn_Module(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten()))
    >>> methods, objective = (GradCAM(), Saliency()), logit(0)
    >>> with together(methods, flat, torch.randn(1, 3, 8, 8), objective) as x:
    ...     cam, saliency = (method(flat, x, objective) for method in methods)
    """
    flat.follow()
    with torch.inference_mode(False), torch.no_grad(), unchanged():
        for method in methods:
            with suppress(NotApplicable):  # which that method itself will say when it is called
                method.look(flat, x)
        own = owned(x)
        points = _points(methods, flat, objective, wrt)
        recording = empty = Recording(flat, own, objective)
        if points:
            # where a layer has no gradient, the method that reads it says so, and the others run by themselves
            with suppress(NotApplicable):
                shared = lambda: recorded(flat, own, objective, points)  # noqa: E731
                # samples that run one by one share nothing
                recording = whole_or_singly(flat, own, shared, shared if len(own) == 1 else lambda: empty)
    with playing(recording):
        yield own


def _points(methods: Sequence[Method], flat: FlatModel, objective: Objective, wrt: str) -> list[str]:
    """The layers at which any of the methods reads the gradient, in the order of the network."""
    wanted: set[str] = set()
    for method in methods:
        try:
            wanted.update(method.points(flat, flat.key(wrt)))
        except NotApplicable:  # that method itself will say so when it is called
            continue
    read = set(flat.keys_of(objective.layers))
    if OUTPUT in read:
        read.update(flat.program.outputs)
    return [key for key in (*flat.inputs, *flat.layers) if key in wanted and read & flat.program.reached([key])]
