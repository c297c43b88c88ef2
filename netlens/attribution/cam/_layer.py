"""The layer that class activation maps read by default, found by what the layers do to positions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.grid import followed_for
from netlens.flat.keys import OUTPUT
from netlens.flat.layers import Mean
from netlens.flat.opacity import about_opaque
from netlens.flat.operations import Relevance, Trait, operation_of
from netlens.flat.places import Alive, Followed, Grid, alive_before, joined
from netlens.flat.running import Program, Step
from netlens.memo import Memo

_KEEPS_CHANNELS = Trait.ELEMENTWISE | Trait.KEEPS | Trait.MOVES | Trait.SOFTMAX | Trait.MEETS
_SUMMARIZES = Trait.POOLS | Trait.RESIZES | Trait.REDUCES | Trait.LOG_SOFTMAX


def cam_layer(flat: FlatModel, x: Tensor | None = None, objective: Sequence[str] = (OUTPUT,)) -> str:
    """The layer that class activation maps read by default: the adapter's choice, else the last places of the network.

    This is the deepest value with a layout over the input through which the objective sees all positions. So no side
    branch, reference or auxiliary head is chosen. Where the objective reads a class token, the patch tokens count as
    far as an attention still reads them. The value is not the prediction itself: maps of scores, or what becomes such
    maps by operations that keep their channels. A value that only pools, moves or resizes an earlier one yields to the
    earlier one.

    Args:
        flat: The network.
        x: A batch like those to be explained, for its shape; by default of the usual shape.
        objective: The layers that the objective reads.

    Raises:
        NotApplicable: No such value exists. The message says why.

    Example:
        >>> from netlens import open_network
        >>> cam_layer(open_network())
        'trunk_output.block3.block3-3.activation'
    """
    if flat.adapter.cam_layer is not None:
        return flat.key(flat.adapter.cam_layer)
    ends = tuple(_ends(flat, objective))
    places = followed_for(flat, x)
    question = (ends, places.shapes)
    key = _LAYERS.of(flat.program, question, lambda: _Sweep(flat.program, places).back_from(ends))
    if key is None:
        raise NotApplicable(_why_not(flat, places))
    return key


_LAYERS: Memo[Program, str | None] = Memo()


def _ends(flat: FlatModel, objective: Sequence[str]) -> list[str]:
    """The keys of the values that an objective reads. Of the network's outputs, those with the class scores count."""
    ends: list[str] = []
    for key in flat.keys_of(list(objective)):
        if key != OUTPUT or flat.layers.has(OUTPUT):
            ends.append(key)
            continue
        outputs = flat.program.outputs
        ends.extend(outputs[:1] if flat.adapter.logits is None else outputs)
    return list(dict.fromkeys(ends))


class _Sweep:
    """Final: a walk from the values that the objective reads back to the input.

    A value is open if a layer that was passed reads positions of it. If only one value is open, all that the objective
    sees of positions goes through this value. Of other values, the layers that were passed read only tokens without a
    position, such as the class token. They bypass the open value, and this is allowed only if the open value is made of
    the same tokens, as the norm at the head of a branch is.
    """

    def __init__(self, program: Program, places: Followed) -> None:
        self.program = program
        self.places = places
        self.from_input = _reached(program, places.first)
        self.open: set[str] = set()
        self.bypassing: set[str] = set()
        self.alive: dict[str, Alive] = {}
        self.predicted: dict[str, bool] = {}  # whether a value is the prediction, up to layers that keep its channels
        self.attended: dict[str, bool] = {}  # whether all that read a value use it as keys or values of attention

    def back_from(self, ends: Sequence[str]) -> str | None:
        """The deepest value that may be chosen; None if there is none."""
        for key in ends:
            if key in self.from_input:
                self.open.add(key)
                self.alive[key], self.attended[key] = None, False
                self.predicted[key] = self.places.grid(key) is not None
        best: str | None = None
        for step in reversed(self.program.steps):
            if step.key not in self.open | self.bypassing:
                continue
            if self.open == {step.key} and self.bypassing.issubset(step.reads) and self._may_be_chosen(step.key, best):
                best = step.key
            elif best is not None:
                return best
            self._pass(step)
            if best is not None and not _summarizes(step.layer):
                return best
        return best

    def _may_be_chosen(self, key: str, best: str | None) -> bool:
        grid = self.places.grid(key)
        if grid is None or self.predicted[key] or self.attended[key]:
            return False
        if best is not None:
            better = self.places.grid(best)
            assert better is not None
            if not _are_maps(grid) and (_are_maps(better) or len(grid.dims) > 1):
                return False  # maps are better than a sequence, and a sequence than windows
        return _count(grid, self.alive[key]) > 1

    def _pass(self, step: Step) -> None:
        """Open the values that a step reads, as far as positions of them matter."""
        self.open.discard(step.key)
        self.bypassing.discard(step.key)
        values = self.places.values
        before: list[Alive] = [None] * len(step.reads)
        if step.key in values:  # else the places could not be followed so far, and everything may matter
            inputs = [values[key] for key in step.reads]
            before = alive_before(step.layer, inputs, values[step.key], self.alive[step.key])
        keeps = self.predicted.get(step.key, False) and _keeps_channels(step.layer)
        for index, (key, alive) in enumerate(zip(step.reads, before, strict=True)):
            if key not in self.from_input:
                continue
            grid = self.places.grid(key)
            self.alive[key] = joined(self.alive[key], alive) if key in self.alive else alive
            if grid is not None and _count(grid, alive) == 0:  # only tokens without a position are read
                self.bypassing.add(key)
                continue
            self.predicted[key] = self.predicted.get(key, True) and keeps
            self.attended[key] = self.attended.get(key, True) and self._attends(step, index)
            self.open.add(key)
        self.bypassing -= self.open

    def _attends(self, step: Step, index: int) -> bool:
        """Whether a step uses an input as keys or values of attention, or prepares the input for this use."""
        if operation_of(step.layer).relevance in (Relevance.CONTRACTS, Relevance.ATTENDS):
            return index > 0 or all(key in self.from_input for key in step.reads)
        prepares = operation_of(step.layer).has(Trait.MOVES | Trait.KEEPS | Trait.MEETS | Trait.NORM)
        return self.attended.get(step.key, False) and prepares


def _reached(program: Program, first: str) -> set[str]:
    """The input and all values that depend on its numbers. Sizes are no paths, nor is a mask that is made of sizes."""
    reached = {first}
    for step in program.steps:
        if not step.hidden and not reached.isdisjoint(step.reads):
            reached.add(step.key)
    return reached


def _count(grid: Grid, alive: Alive) -> int:
    """How many positions of a grid matter."""
    if not isinstance(alive, Tensor):
        return 2
    maps = grid.maps(alive.expand(grid.shape))
    return int(maps.flatten(2).any(1).sum())


def _are_maps(grid: Grid) -> bool:
    """Whether the positions are rows and columns, each a dimension. Those of sequences and windows are not."""
    return grid.order is None and len(grid.dims) == len(grid.sizes)


def _keeps_channels(layer: nn.Module) -> bool:
    return operation_of(layer).has(_KEEPS_CHANNELS | _SUMMARIZES)


def _summarizes(layer: nn.Module) -> bool:
    """Whether a layer only pools, moves or resizes what it reads."""
    return operation_of(layer).has(Trait.MOVES | Trait.KEEPS | _SUMMARIZES)


def _why_not(flat: FlatModel, places: Followed) -> str:
    """The message for a network without a layer to look at."""
    advice = "name one with layer=..., or give an adapter with cam_layer."
    hidden = about_opaque(flat, "nobody can look inside", flat.program.reached([places.first]))
    if hidden:
        return f"class activation maps find no layer of {flat.name} with positions of the input.{hidden} So {advice}"
    if places.failure:
        return f"class activation maps cannot follow positions through {flat.name}: {places.failure}; {advice}"
    laid_out = [key for key in flat.layers if places.grid(key) is not None]
    if not laid_out:
        return (
            f"no layer of {flat.name} has activations with positions of the input (maps, or tokens that form a grid), "
            f"so there is no place for a class activation map; {advice}"
        )
    return (
        f"no layer of {flat.name} with positions of the input lies on all paths to what is explained, except the "
        f"prediction itself; several branches have such layers, the last is {laid_out[-1]!r}: {advice}"
    )


def pools_all(layer: nn.Module) -> bool:
    """Whether a layer reduces each map (N, C, h, w) to one position."""
    if isinstance(layer, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
        return layer.output_size in (1, (1, 1), [1, 1])
    if not isinstance(layer, Mean):
        return False
    dims = layer.kwargs.get("dim", layer.args[1] if len(layer.args) > 1 else None)
    return isinstance(dims, (tuple, list)) and {dim % 4 for dim in dims} == {2, 3}
