"""What judges pictures: a network, run no further than the objective reads, on pictures disturbed and normalized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.errors import NetLensError, NotApplicable
from netlens.fast.chunks import out_of_memory
from netlens.fast.folded import fast
from netlens.flat import FlatModel, intake
from netlens.flat.keys import LayerKey
from netlens.flat.model import OUTPUT
from netlens.flat.operations import is_kind
from netlens.flat.precision import precise, widest
from netlens.flat.rules import Rule, Rules
from netlens.objectives import Objective, Record
from netlens.preprocessing import Preprocessing
from netlens.rules.redirected import MORTAL, REDIRECTED, STRAIGHT
from netlens.visualization.params import on_backgrounds
from netlens.visualization.transforms.base import Generators, Size, Transform
from netlens.visualization.transforms.crops import Fit
from netlens.visualization.transforms.standard import Chain


@dataclass(frozen=True)
class Judge:
    """An objective as a function of pictures in [0, 1]; the network sees them at `size`."""

    flat: FlatModel
    objective: Objective
    transforms: Transform
    size: Size

    @classmethod
    def of(
        cls, flat: FlatModel, objective: Objective, transforms: Transform, extent: Size, others: Sequence[Size] = ()
    ) -> Judge:
        """The network looks at pictures at their own size if it can, otherwise as it expects or at one of others."""
        intake.check_one_input(flat)
        judge = cls(flat, objective, transforms, extent)
        expected = flat.adapter.preprocessing.size
        sizes = list(dict.fromkeys([extent, *([] if expected is None else [expected]), *others]))
        if not judge._layers:
            return judge
        for size in sizes:
            judge = replace(judge, size=size)
            try:
                judge._run(torch.zeros(1, channels_of(flat), *size))
                return judge
            except NetLensError:
                raise
            except Exception as error:  # whatever a layer makes of a size that it cannot take, or of all
                if out_of_memory(error):
                    raise
                failure = error
        if not isinstance(failure, RuntimeError | AssertionError):  # what layers raise because of a shape
            raise failure
        tried = " or ".join(f"{height} by {width}" for height, width in sizes)
        why = " ".join(str(failure).split())[:160]
        raise NotApplicable(
            f"{flat.name} cannot be run on pictures of {tried} pixels ({why}); give the size "
            "that it takes, or an adapter=Adapter(preprocessing=...) with that size."
        ) from failure

    def __call__(
        self, images: Tensor, generators: Generators, rows: Sequence[int] | None = None, redirect: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(n,): the objective of each picture (n, C, H, W), and what the network was shown of it (n, C, h, w).

        rows: the pictures' places in the batch, if they are not all of it. "input" is, for the objective, the picture
        itself: undisturbed and at its own size, in the network's units. A channel more than the network takes is the
        pictures' opacity, and each is laid on a background of its own.
        """
        if images.shape[1] == channels_of(self.flat) + 1:
            images = on_backgrounds(images, generators)
        # also where nothing disturbs them, another tensor than `images`, with a gradient of its own
        shown = self._disturbed(images.view_as(images), generators) if self._layers else images
        record = self._run(shown, redirect) if self._layers else {}
        if len(self._layers) < len(self._keys):
            record[self.flat.inputs[0]] = self._normalized(images)
        objective = self.objective if rows is None else self.objective.take(rows)
        values = objective(Record(self.flat, {key: precise(value) for key, value in record.items()}))
        if not isinstance(values, Tensor) or values.shape != (len(images),):
            got = f"{tuple(values.shape)} numbers" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise NotApplicable(f"{objective} gives {got} for {len(images)} samples; it must give one number each.")
        return values, shown

    def seen(self, images: Tensor) -> Tensor:
        """What the network gets of pictures (n, C, H, W) in [0, 1], undisturbed, in its size and its units."""
        plain = replace(self, transforms=Chain())
        return self._input(plain._disturbed(images, [torch.Generator()] * len(images)))

    def prepared(self, images: Tensor) -> Judge:
        """The same, with the objective `prepared` for pictures like these."""
        colors = images.detach()[:, : channels_of(self.flat)]
        return replace(self, objective=self.objective.prepared(self.flat, self.seen(colors)))

    def _disturbed(self, images: Tensor, generators: Generators) -> Tensor:
        if images.shape[2:] != self.size:
            # not by `Fit`, which would skip pixels of large pictures, and see beyond the edges of small ones
            images = F.interpolate(images, self.size, mode="bilinear", antialias=True, align_corners=False)
        return Chain((self.transforms, Fit(self.size)))(images, generators)

    def _run(self, images: Tensor, redirect: bool = False) -> dict[str, Tensor]:
        runner = self._redirected if redirect else self._runner
        return runner.run({self.flat.inputs[0]: self._input(images)}, self._layers)

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
        # its weights have no gradients, and those of the pictures are the same to rounding
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
        except NotApplicable:  # without rectifiers that die, there is none to wake
            return self._plain

    @cached_property
    def _units(self) -> tuple[Tensor, Tensor]:
        """What to subtract from pictures, and to multiply them by; a gray network may be known by colors only."""
        known = preprocessing_of(self.flat)
        channels = channels_of(self.flat)
        if len(known.mean) not in (1, channels):
            raise NotApplicable(
                f"{self.flat.name} takes {channels} channels, but its preprocessing has a mean and std of "
                f"{len(known.mean)}; give it an adapter=Adapter(preprocessing=...) whose mean and std are one number "
                "for all channels."
            )
        device = self._weights.device
        mean, std = (torch.tensor(column, dtype=torch.float64).view(-1, 1, 1) for column in (known.mean, known.std))
        return mean.to(device, widest(device)), (1 / std).to(device, widest(device))


def read_rectifiers(flat: FlatModel, keys: Sequence[str]) -> list[str]:
    """The rectifiers at or before `keys` with no weights in between: those whose ends an objective on `keys` meets."""
    program = flat.program
    pending = {*keys, *(program.outputs if OUTPUT in keys else ())}
    found = []
    for step in reversed(program.steps):
        if step.key in pending:
            if is_kind(step.layer, MORTAL):
                found.append(step.key)
            elif next(step.layer.parameters(), None) is None:
                pending.update(step.reads)
    return found


def preprocessing_of(flat: FlatModel) -> Preprocessing:
    """How pictures become what a network takes; in gray, where a network of one channel is known by colors only."""
    known = flat.adapter.preprocessing
    return known.in_gray() if channels_of(flat) == 1 else known


def channels_of(flat: FlatModel) -> int:
    """The number of channels of a network's input."""
    return intake.channels_of(flat) or len(flat.adapter.preprocessing.mean)
