"""Several methods on one input: the forward and backward run that they have in common is made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

from netlens.attribution._run import Run, sharing
from netlens.attribution.batch import without_graph
from netlens.attribution.engine import forward_and_backward
from netlens.attribution.method import Method
from netlens.attribution.singly import whole_or_singly
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.bundle import key_of
from netlens.flat.keys import OUTPUT
from netlens.flat.tracing import unchanged
from netlens.objectives import Objective


@contextmanager
def together(
    methods: Sequence[Method], flat: FlatModel, x: Tensor, objective: Objective, wrt: str = "input"
) -> Iterator[Tensor]:
    """Within the block, the methods share one plain forward and backward run if they are called with the yielded x.

    The values stay the same. What a method needs beyond the plain run (other inputs, other rules), it runs itself.

    Args:
        methods: The methods that are called within the block.
        flat: The network.
        x: The samples (N, ...), of the type and on the device of the network.
        objective: What to explain, one number per sample.
        wrt: "input", the name of an input if there are several, or any name of a layer.

    Example:
        >>> from netlens.attribution import GradCAM, Saliency
        >>> from netlens.objectives import logit
        >>> flat = FlatModel.from_nn_Module(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten()))
        >>> methods, objective = (GradCAM(), Saliency()), logit(0)
        >>> with together(methods, flat, torch.randn(1, 3, 8, 8), objective) as x:
        ...     cam, saliency = (method(flat, x, objective) for method in methods)
        >>> cam.values.shape, saliency.values.shape
        (torch.Size([1, 1, 6, 6]), torch.Size([1, 3, 8, 8]))
    """
    flat = flat.fitting(x[:1])
    with torch.inference_mode(False), torch.no_grad(), unchanged():
        batch = without_graph(x)
        points = _points(methods, flat, batch, objective, wrt)
        run = empty = Run(flat, batch, objective)
        if points:
            # if a layer has no gradient, the method that reads it raises the error, and the other methods run alone
            with suppress(NotApplicable):
                shared = lambda: forward_and_backward(flat, batch, objective, points)  # noqa: E731
                # samples that run one by one share nothing
                run = whole_or_singly(flat, batch, shared, shared if len(batch) == 1 else lambda: empty)
    with sharing(run):
        yield batch


def _points(methods: Sequence[Method], flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> list[str]:
    """The layers where at least one of the methods reads the gradient, in the order of the network."""
    wanted: set[str] = set()
    for method in methods:
        try:
            wanted.update(method.points(flat, x, key_of(flat, wrt)))
        except NotApplicable:  # the method raises the error itself when it is called
            continue
    read = set(flat.keys_of(objective.layers))
    if OUTPUT in read:
        read.update(flat.program.outputs)
    return [key for key in (*flat.inputs, *flat.layers) if key in wanted and read & flat.program.reached([key])]
