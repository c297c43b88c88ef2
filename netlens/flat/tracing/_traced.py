"""What a trace gives: the graph of calls, and all that the graph names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Trace:
    """The record of one symbolic run.

    Attributes:
        graph: The graph of calls.
        modules: The modules that the graph names, by path.
        tensors: The parameters, buffers and constants that the graph names, by path.
        inputs: The names of the arguments that are inputs.
        output: The structure of the output.
        opaque: The reason for each part that stays whole, by path.
        written: The attributes that the forward sets, each as (path of the module, name).
        literals: The paths of the tensors that the forward itself makes from numbers, such as `torch.tensor(0.5)`.
    """

    graph: fx.Graph
    modules: dict[str, nn.Module]
    tensors: dict[str, Tensor]
    inputs: tuple[str, ...]
    output: pytree.TreeSpec
    opaque: dict[str, str]
    written: frozenset[tuple[str, str]]
    literals: Collection[str] = ()
