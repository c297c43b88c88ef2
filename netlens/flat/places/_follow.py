"""The places of all values of a network, followed from the input through the layers without running the network."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from netlens.flat.layers import Part
from netlens.flat.layout import Layout
from netlens.flat.operations import Trait, operation_of
from netlens.flat.places._grid import Grid
from netlens.flat.places._moves import places_after, reads_first_alone
from netlens.flat.places._places import Places, Raster, Unplaced, centers, placed
from netlens.flat.places._stand_ins import output_of
from netlens.flat.running import Program, Step
from netlens.memo import Memo

_MOST_OTHERS = 16  # class tokens and registers before the patches of a sequence that nobody can follow


class Followed:
    """Final: what is known of each value of a network, for an input of one shape.

    The shapes of all values are worked out at once, their places when somebody asks. A residual branch that joins a
    stream of known places adds none, so nobody asks what its layers do.

    Args:
        program: The network.
        shapes: The shape of one sample of each input, with the dimension of samples: (1, C, H, W).
        like: A weight, for the type of the inputs.
        layout: Which dimensions of the first input are positions; None for all after the channels in dimension 1.
    """

    def __init__(
        self, program: Program, shapes: Sequence[tuple[int, ...]], like: Tensor, layout: Layout | None = None
    ) -> None:
        self.shapes = tuple(shapes)
        self.failure = ""
        """Why places could not be followed to the end; empty if they could."""
        self.values: dict[str, Any] = {}
        """Stand-ins of all values, by key."""
        self._places: dict[str, Any] = {}
        self._grids: dict[str, Grid | None] = {}
        self._grids_of: dict[tuple[Places, tuple[int, ...]], Grid | None] = {}
        self._steps = {step.key: step for step in program.steps}
        self._order = {key: index for index, key in enumerate((*program.inputs, *self._steps))}
        self._picture: tuple[int, ...] = ()
        self.first = program.inputs[0]
        """The input that has positions: the first one, or the first such part of a bundle."""
        for key, shape in zip(program.inputs, shapes, strict=False):  # further inputs have no positions
            self.values[key] = torch.empty(shape, dtype=like.dtype, device="meta")
            self._place_input(key, shape, layout if key == self.first else None)
        from_input = program.reached(program.inputs)
        for step in program.steps:
            if step.hidden or step.key not in from_input:
                self._places[step.key] = Unplaced.NOWHERE
            if step.guard or not all(key in self.values for key in step.reads):
                continue
            if isinstance(step.layer, Part):
                self._place_input(step.key, (1, *step.layer.shape), step.layer.layout)
            try:
                self.values[step.key] = output_of(step.layer, [self.values[key] for key in step.reads])
            except (
                Exception
            ) as error:  # any layer may refuse a stand-in, in any way; the rest of the network is unknown
                reason = str(error).split("\n")[0]
                self.failure = self.failure or f"{step.key!r} takes no numbers of zero ({reason})"

    def _place_input(self, key: str, shape: Sequence[int], layout: Layout | None) -> None:
        """Note the places of an input of this shape."""
        dims = tuple(range(2, len(shape))) if layout is None else layout.positions
        sizes = tuple(shape[dim] for dim in dims)
        # entries of a vector are no positions: nothing tells that neighbors belong together
        is_spread = len(shape) > 2 and prod(sizes) > 1
        self._places[key] = _in_rows(tuple(shape), sizes, dims) if is_spread else Unplaced.NOWHERE
        if is_spread and not self._picture:
            self._picture, self.first = sizes, key

    def grid(self, key: str) -> Grid | None:
        """The grid on which the value at `key` lies; None if it has none."""
        if key not in self._grids:
            value = self.values.get(key)
            at: Places = self.places(key) if isinstance(value, Tensor) else Unplaced.NOWHERE
            shape = tuple(value.shape) if isinstance(value, Tensor) else ()
            if (at, shape) not in self._grids_of:  # one object stands for the places of a whole stream
                self._grids_of[at, shape] = Grid.of(at, shape)
            self._grids[key] = self._grids_of[at, shape]
        return self._grids[key]

    def grid_of_stream(self, key: str) -> Grid | None:
        """The grid of the stream to which a branch adds the value at `key`, such as the output of an attention.

        Each token of the branch comes from all positions, so it has no place of its own. None if there is no stream.
        """
        value, joined = self.values.get(key), {key}
        for step in self._steps.values():
            if joined.isdisjoint(step.reads) or step.hidden or not isinstance(value, Tensor):
                continue
            after = self.values.get(step.key)
            if isinstance(after, Tensor) and after.shape == value.shape:
                layout = self.grid(step.key)
                if layout is not None:
                    return layout
                joined.add(step.key)
        return None

    def places(self, key: str) -> Any:
        """The places of the value at `key`: of a tensor, or a list of those of several tensors."""
        pending = [key]
        while pending:
            key = pending[-1]
            needed = [] if key in self._places else self._work_out(self._steps[key])
            if needed:
                pending.extend(needed)
            else:
                pending.pop()
        return self._places[key]

    def _work_out(self, step: Step) -> list[str]:
        """Note the places after a step, or return the keys of the places that it takes to do so."""
        value = self.values[step.key]
        if isinstance(value, Tensor) and operation_of(step.layer).has(Trait.MEETS):
            # the stream that branches off earliest and comes back is the one that a branch adds to
            streams = [key for key in step.reads if self._is_stream(key, value)]
            if len(streams) > 1:
                stream = min(streams, key=self._order.__getitem__)
                if stream not in self._places:
                    return [stream]
                if self.grid(stream) is not None:
                    self._places[step.key] = self._places[stream]
                    return []
        sources = step.reads[:1] if reads_first_alone(step.layer) else step.reads
        needed = [key for key in sources if key not in self._places]
        if not needed:
            inputs = [self.values[key] for key in step.reads]
            before = [self._places.get(key, Unplaced.NOWHERE) for key in step.reads]
            at = places_after(step.layer, inputs, before, value)
            if at is Unplaced.UNKNOWN and isinstance(value, Tensor):
                at = inferred(value.shape, self._picture)
                # if a layer is unknown and reads maps, its output counts as maps, too
                if at is Unplaced.UNKNOWN and value.ndim > 2 and any(_are_maps(each, value) for each in before):
                    at = Raster(tuple(value.shape[2:]))
            self._places[step.key] = at
        return needed

    def _is_stream(self, key: str, value: Tensor) -> bool:
        read = self.values[key]
        same = isinstance(read, Tensor) and read.shape == value.shape
        return same and self._places.get(key) is not Unplaced.NOWHERE


def _are_maps(places: Any, value: Tensor) -> bool:
    """Whether these places are those of maps with as many sides as the value has behind its channels."""
    return isinstance(places, Raster) and len(places.sizes) == value.ndim - 2


_FOLLOWED: Memo[Program, Followed] = Memo(most=8)


def followed(
    program: Program, shapes: Sequence[tuple[int, ...]], like: Tensor, layout: Layout | None = None
) -> Followed:
    """The places of all values for one sample of these shapes of the inputs, worked out once.

    Args:
        program: The network.
        shapes: The shape of one sample of each input, with the dimension of samples: (1, C, H, W).
        like: A weight, for the type of the inputs.
        layout: Which dimensions of the first input are positions; None for all after the channels in dimension 1.
    """
    question = (tuple(shapes), like.dtype, layout)
    return _FOLLOWED.of(program, question, lambda: Followed(program, shapes, like, layout))


def all_followed(program: Program) -> list[Followed]:
    """The places that were followed for a network so far, the latest last."""
    return _FOLLOWED.all(program)


def inferred(shape: Sequence[int], picture: Sequence[int]) -> Places:
    """The places of a value of which only the shape is known: maps, or tokens that tile the picture.

    As many as possible of the last tokens are patches, row by row. The tokens before them have no place.
    """
    rank = len(picture)
    if rank == 0:
        return Unplaced.UNKNOWN
    if len(shape) == rank + 2:
        if _tiles(shape[2:], picture):
            return Raster(tuple(shape[2:]))
        if _tiles(shape[1:-1], picture):
            return _in_rows(tuple(shape), tuple(shape[1:-1]), range(1, len(shape) - 1))
    if len(shape) == 3:
        for others in range(min(_MOST_OTHERS, shape[1])):
            sizes = _sizes(shape[1] - others, picture)
            if sizes is not None:
                return _tokens(tuple(shape), others, sizes)
    return Unplaced.UNKNOWN


def _tiles(sizes: Sequence[int], picture: Sequence[int]) -> bool:
    """Whether maps of these sizes have the proportions of the picture, up to rounding."""
    if prod(sizes) < 2 or any(size > whole for size, whole in zip(sizes, picture, strict=True)):
        return False
    cell = max(whole / size for size, whole in zip(sizes, picture, strict=True))
    return all(abs(size - whole / cell) <= 1 for size, whole in zip(sizes, picture, strict=True))


def _sizes(tokens: int, picture: Sequence[int]) -> tuple[int, ...] | None:
    """The sizes of a grid of so many tokens with square cells that tile the picture; None if there is none."""
    cell = (prod(picture) / tokens) ** (1 / len(picture))
    sizes = tuple(round(side / cell) for side in picture)
    fits = prod(sizes) == tokens and tokens > 1
    same = fits and len({side / size for side, size in zip(picture, sizes, strict=True)}) == 1
    return sizes if same else None


def _in_rows(shape: tuple[int, ...], sizes: tuple[int, ...], dims: Sequence[int]) -> Places:
    return placed([centers(size, dim, len(shape)) for dim, size in zip(dims, sizes, strict=True)], shape)


def _tokens(shape: tuple[int, ...], others: int, sizes: tuple[int, ...]) -> Places:
    axes = []
    for dim, size in enumerate(sizes):
        patches = centers(size, dim, len(sizes)).expand(sizes).flatten()
        axes.append(torch.cat([torch.zeros(others, device="cpu"), patches]).view(1, -1, 1))
    return placed(axes, shape)
