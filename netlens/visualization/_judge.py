"""The judge of pictures: it disturbs and normalizes them, runs the network on them, and computes the objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.errors import NetLensError, NotApplicable, TraceError
from netlens.fast import fast
from netlens.fast.chunks import out_of_memory
from netlens.flat import FlatModel, intake
from netlens.flat.keys import OUTPUT, LayerKey
from netlens.flat.operations import is_kind
from netlens.flat.rules import Rule, Rules
from netlens.objectives import Objective, Record
from netlens.precision import precise, widest
from netlens.preprocessing import Preprocessing
from netlens.rules.redirected import MORTAL, REDIRECTED, STRAIGHT
from netlens.visualization.params import on_backgrounds
from netlens.visualization.transforms import Chain, Fit, Generators, Size, Transform


@dataclass(frozen=True)
class Judge:
    """An objective as a function of pictures in [0, 1]. The network gets them at the size `size`.

    The network runs no further than the layers that the objective reads.
    """

    flat: FlatModel
    objective: Objective
    transforms: Transform
    size: Size

    @classmethod
    def of(
        cls,
        flat: FlatModel,
        objective: Objective,
        transforms: Transform,
        extent: Size,
        fallback_sizes: Sequence[Size] = (),
    ) -> Judge:
        """The judge for pictures of the size `extent`.

        The network gets them at their own size if it can run on it; else at the size that it expects; else at one of
        `fallback_sizes`.
        """
        intake.check_one_input(flat)
        judge = cls(flat, objective, transforms, extent)
        expected = flat.adapter.preprocessing.size
        sizes = list(dict.fromkeys([extent, *([] if expected is None else [expected]), *fallback_sizes]))
        if not judge._layers:
            return judge
        for size in sizes:
            judge = cls(flat, objective, transforms, size)
            try:
                image = torch.zeros(1, channels_of(flat), *size)
                judge = replace(judge, flat=flat.fitting(judge._input(image)))
                judge._run(image)
                return judge
            except NetLensError as error:
                if not isinstance(error, TraceError):  # a network that checks its sizes is not unrolled for others
                    raise
                failure: Exception = error
            except Exception as error:  # layers raise different errors for a size that they cannot run on
                if out_of_memory(error):
                    raise
                failure = error
        if not isinstance(failure, RuntimeError | AssertionError | TraceError):  # a wrong shape raises one of these
            raise failure
        tried = " or ".join(f"{height} by {width}" for height, width in sizes)
        why = " ".join(str(failure).split())[:160]
        raise NotApplicable(
            f"{flat.name} cannot run on pictures of {tried} pixels ({why}); give the size "
            "that it takes, or an adapter=Adapter(preprocessing=...) with that size."
        ) from failure

    def __call__(
        self, images: Tensor, generators: Generators, rows: Sequence[int] | None = None, redirect: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The objective of each picture (n,), and the disturbed pictures that the network gets (n, C, h, w).

        For the objective, the layer "input" is the picture itself: normalized, but not disturbed and not resized.

        Args:
            images: Pictures (n, C, H, W) in [0, 1]. If they have one more channel than the network reads, the last
                channel is their opacity, and each is laid on a random background.
            generators: A generator for each picture.
            rows: The indices of the pictures in the batch; None if they are the whole batch.
            redirect: Whether dead rectifiers let gradients pass; see `REDIRECTED`.
        """
        if images.shape[1] == channels_of(self.flat) + 1:
            images = on_backgrounds(images, generators)
        # a new tensor, even if nothing disturbs the pictures, so that the gradient through the network is separate
        shown = self.disturbed(images.view_as(images), generators) if self._layers else images
        objective = self.objective if rows is None else self.objective.take(rows)
        values = objective(self.record(images, shown, redirect))
        if not isinstance(values, Tensor) or values.shape != (len(images),):
            actual = f"{tuple(values.shape)} numbers" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise NotApplicable(f"{objective} gives {actual} for {len(images)} samples; it must give one number each.")
        return values, shown

    def record(self, images: Tensor, shown: Tensor, redirect: bool = False) -> Record:
        """What the objective reads of pictures (n, C, H, W) that are `shown` to the network (n, C, h, w)."""
        record = self._run(shown, redirect) if self._layers else {}
        if len(self._layers) < len(self._keys):
            record[self.flat.inputs[0]] = self._normalized(images)
        return Record(self.flat, {key: precise(value) for key, value in record.items()})

    def plain_input(self, images: Tensor) -> Tensor:
        """The network's input for pictures (n, C, H, W) in [0, 1] without disturbance: resized and normalized."""
        plain = replace(self, transforms=Chain())
        return self._input(plain.disturbed(images, [torch.Generator()] * len(images)))

    def prepared(self, images: Tensor) -> Judge:
        """The same judge, with its objective `prepared` for pictures of this shape."""
        colors = images.detach()[:, : channels_of(self.flat)]
        return replace(self, objective=self.objective.prepared(self.flat, self.plain_input(colors)))

    def disturbed(self, images: Tensor, generators: Generators) -> Tensor:
        """The pictures that the network gets: disturbed, with its size."""
        if images.shape[2:] != self.size:
            # `Fit` would skip pixels of large pictures and read beyond the edges of small ones
            images = F.interpolate(images, self.size, mode="bilinear", antialias=True, align_corners=False)
        return Chain((self.transforms, Fit(self.size)))(images, generators)

    def _run(self, images: Tensor, redirect: bool = False) -> dict[str, Tensor]:
        runner = self._redirected if redirect else self._runner
        # the record belongs to the network, whose layers are laid out over this input
        return runner.run(self.flat.see({self.flat.inputs[0]: self._input(images)}), self._layers)

    def _input(self, images: Tensor) -> Tensor:
        device = self._weights.device
        dtype = torch.float32 if widest(device) == torch.float32 else images.dtype
        return self._normalized(images.to(device, dtype)).to(self._weights.dtype)

    def _normalized(self, images: Tensor) -> Tensor:
        mean, scale = (column.to(images) for column in self._units)
        return (images - mean) * scale

    @cached_property
    def _keys(self) -> list[str]:
        return self.flat.keys_of(self.objective.layers)

    @cached_property
    def _layers(self) -> list[str]:
        return [key for key in self._keys if key not in self.flat.inputs]

    @cached_property
    def _weights(self) -> Tensor:
        return intake.weight_of(self.flat, torch.empty(0))

    @cached_property
    def _plain(self) -> FlatModel:
        # this run needs no gradients of weights; the gradients of the pictures are the same up to rounding
        return fast(self.flat, keep=self._layers)

    @cached_property
    def _straight(self) -> dict[LayerKey | tuple[type[nn.Module], ...], Rule]:
        return dict.fromkeys(read_rectifiers(self.flat, self._layers), STRAIGHT)

    @cached_property
    def _runner(self) -> FlatModel:
        return self._plain.with_rules(Rules(self._straight, "straight through")) if self._straight else self._plain

    @cached_property
    def _redirected(self) -> FlatModel:
        try:
            return self._plain.with_rules(Rules({**REDIRECTED.rules, **self._straight}, REDIRECTED.name))
        except NotApplicable:  # the network has no rectifiers that can be dead
            return self._plain

    @cached_property
    def _units(self) -> tuple[Tensor, Tensor]:
        """The mean to subtract from pictures, and the factor to multiply them by: (C, 1, 1) each."""
        preprocessing = preprocessing_of(self.flat)
        channels = channels_of(self.flat)
        if len(preprocessing.mean) not in (1, channels):
            raise NotApplicable(
                f"{self.flat.name} takes {channels} channels, but its preprocessing has a mean and std of "
                f"{len(preprocessing.mean)}; give it an adapter=Adapter(preprocessing=...) whose mean and std are one "
                "number for all channels."
            )
        device = self._weights.device
        mean, std = (
            torch.tensor(column, dtype=torch.float64).view(-1, 1, 1)
            for column in (preprocessing.mean, preprocessing.std)
        )
        return mean.to(device, widest(device)), (1 / std).to(device, widest(device))


def read_rectifiers(flat: FlatModel, keys: Sequence[str]) -> list[str]:
    """The rectifiers at `keys`, and those before `keys` if no layer with weights lies in between."""
    program = flat.program
    pending = {*keys, *(program.outputs if OUTPUT in keys else ())}
    rectifiers = []
    for step in reversed(program.steps):
        if step.key in pending:
            if is_kind(step.layer, MORTAL):
                rectifiers.append(step.key)
            elif next(step.layer.parameters(), None) is None:
                pending.update(step.reads)
    return rectifiers


def preprocessing_of(flat: FlatModel) -> Preprocessing:
    """The preprocessing of a network for pictures with its number of channels."""
    return flat.adapter.preprocessing.for_channels(channels_of(flat))


def channels_of(flat: FlatModel) -> int:
    """The number of channels of a network's input."""
    return intake.channels_of(flat) or len(flat.adapter.preprocessing.mean)
