"""OptVis: the renderer. It makes pictures that maximize an objective."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch

from netlens.errors import NetLensError, NonFiniteError
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import check_names, checked
from netlens.results import Provenance, Render, State
from netlens.visualization._ascent import MakeOptimizer
from netlens.visualization._callbacks import Callback, Frames
from netlens.visualization._gradients import GradientTransform
from netlens.visualization._loop import Loop, suited
from netlens.visualization._schedule import Schedule, Stop
from netlens.visualization._tiles import LARGEST
from netlens.visualization.params import Param
from netlens.visualization.transforms import Transform, standard

MOST_STEPS = 1_000_000  # a larger number is a mistake, and the history would fill the memory

ADAM: MakeOptimizer = partial(torch.optim.Adam, lr=0.05)


class OptVis:
    """Makes pictures that maximize an objective, even after small disturbances of the pictures.

    Pictures are in [0, 1]. The network gets them after the preprocessing of its adapter. It gets them at their own size
    if it can run on this size, else at the size that the preprocessing names.

    Args:
        flat: The network.
        objective: The objective to maximize.
        transforms: The disturbances; None for `standard()`. `Chain()` disturbs nothing.
        tile: The side, in pixels, of the tiles in which the network runs on larger pictures; None for whole pictures.
            The pictures are the same up to rounding. The objective must follow from sums over positions, as
            `objectives.style`, `content` and `total_variation` do.

    Raises:
        NetLensError: An argument has the wrong type.
        LayerNotFound: The network has no layer that the objective reads.

    Example:
        >>> from netlens.objectives import channel
        >>> from netlens.visualization import Fourier
        >>> from netlens.zoo import open_network
        >>> vis = OptVis(open_network(), channel("stem", 3))
        >>> vis.render(Fourier(32), steps=2, progress=False).images.shape
        torch.Size([1, 3, 32, 32])

    Olah et al. 2017, https://distill.pub/2017/feature-visualization
    """

    def __init__(
        self, flat: FlatModel, objective: Objective, transforms: Transform | None = None, tile: int | None = None
    ) -> None:
        checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
        checked("the objective", objective, Objective, hint="give one such as channel('layer3', 12)")
        if isinstance(transforms, type) or not callable(transforms):  # a function may take the place of a transform
            checked("transforms", transforms, Transform | None, hint="give one such as Chain()")
        flat.keys_of(objective.layers)  # a wrong name raises here, and not after a long run
        self.flat = flat
        self.objective = objective
        self.tile = checked("tile", tile, int | None, least=32, most=LARGEST)
        self.transforms = standard() if transforms is None else transforms

    def render(
        self,
        param: Param,
        steps: int = 512,
        optimizer: MakeOptimizer = ADAM,
        schedule: Schedule | None = None,
        gradient: GradientTransform | Sequence[GradientTransform] = (),
        redirect: int = 16,
        callbacks: Sequence[Callback] = (),
        stop: Stop | None = None,
        progress: bool = True,
        resume: Render | State | None = None,
    ) -> Render:
        """Optimize the pictures that `param` makes. Each sample of the batch is optimized independently.

        Args:
            param: The parameterization, which makes the pictures.
            steps: The total number of steps, including those before `resume`; from 1 to 1,000,000.
            optimizer: A function from the tensors to an optimizer of torch. If the optimizer is not elementwise, such
                as LBFGS, each sample has an optimizer of its own.
            schedule: The learning rate and the size of the pictures over the steps.
            gradient: A transform of the gradient at the picture, or several transforms, applied in their order.
            redirect: The number of steps at the start in which rectifiers let a gradient pass to samples whose gradient
                would otherwise be 0.
            callbacks: Objects that watch the optimization.
            stop: A function that says which samples are finished; see `Plateau`.
            progress: Whether a terminal shows the progress.
            resume: The result of an earlier run with the same options, or its state.

        Returns:
            The pictures, with the history of the objective.

        Raises:
            NetLensError: An argument has the wrong type or value.
            NonFiniteError: A value or gradient is NaN or Inf. The message names the step and the sample.
        """
        self.flat.follow()
        steps = checked("the number of steps", steps, int, least=1, most=MOST_STEPS)
        redirect = checked("redirect", redirect, int, least=0)
        checked("param", param, Param, hint="give one such as Fourier(224)")
        checked("resume", resume, Render | State | None, hint="give what an earlier run gave, or its state")
        checked("schedule", schedule, Schedule | None)
        checked("callbacks", callbacks, Sequence[Callback], hint="give a list such as [Frames(every=16)]")
        checked("stop", stop, Callable | None, hint="give one that says which samples are done, as Plateau() does")
        checked("optimizer", optimizer, Callable, hint="give one such as partial(Adam, lr=0.05)")
        if isinstance(resume, Render) and resume.state is None:
            raise NetLensError("this render has no state to resume from; parts, rows, films and styles have none.")
        schedule = Schedule() if schedule is None else schedule
        transforms = (gradient,) if callable(gradient) or not isinstance(gradient, Sequence) else tuple(gradient)
        checked("gradient", transforms, Sequence[Callable[..., Any]], hint="give transforms such as normalized")
        param = suited(param, self.flat)
        images, state, dead = Loop(
            *(self.flat, self.objective, self.transforms, param, steps, optimizer, schedule, transforms),
            *(redirect, callbacks, stop, progress, self.tile),
        ).run(resume.state if isinstance(resume, Render) else resume)
        options = {
            "param": param,
            "transforms": self.transforms,
            "steps": steps,
            "optimizer": optimizer,
            "schedule": schedule,
            "gradient": transforms,
            "redirect": redirect,
            "stop": stop,
        }
        frames = next((callback.images for callback in callbacks if isinstance(callback, Frames)), [])
        return Render(
            images=_finite(images.float().cpu(), param.seeds),
            history=state.history,
            seeds=param.seeds,
            provenance=self._provenance(len(images), options),
            frames=tuple(frames),
            state=state,
            captions=self._captions(len(images)),
            diagnostics={"found_nothing": dead.cpu().double()} if dead.any() else {},
        )

    def _captions(self, n: int) -> tuple[str, ...] | None:
        """The objective of each sample as a text. None if all texts are equal, or if the samples have targets."""
        if n == 1 or not self.objective.splits or self.objective.targets(self.flat, n) is not None:
            return None
        captions = tuple(repr(self.objective.take([i])) for i in range(n))
        return captions if len(set(captions)) > 1 else None

    def _provenance(self, n: int, options: dict[str, Any]) -> Provenance:
        targets, names = self.objective.named_targets(self.flat, n)
        return Provenance(
            method="OptVis",
            network=self.flat.name,
            objective=repr(self.objective),
            targets=targets,
            target_names=names,
            options={name: described(value) for name, value in options.items()},
        )


def _finite(images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    bad = (~torch.isfinite(images)).flatten(1).any(1)
    if bad.any():
        sample = int(bad.nonzero()[0])
        raise NonFiniteError(
            f"after the last step, the picture of sample {sample} (seed {seeds[sample]}) is NaN or Inf."
        )
    return images


def described(option: Any) -> Any:
    """An option for the provenance: a dataclass as its name and fields, a function or class as its name."""
    if is_dataclass(option) and not isinstance(option, type):
        options = {field.name: described(getattr(option, field.name)) for field in fields(option)}
        return {type(option).__name__: options}
    if isinstance(option, partial):
        return {described(option.func): described(option.keywords)}
    if isinstance(option, dict):
        return {str(key): described(value) for key, value in option.items()}
    if isinstance(option, (tuple, list)):
        return [described(item) for item in option]
    return getattr(option, "__name__", option)


def check_options(options: Iterable[str], fixed: Sequence[str] = ("steps", "progress")) -> None:
    """Raise if an option is none of `OptVis.render`, or if the calling function sets it itself (`fixed`)."""
    allowed = [name for name in inspect.signature(OptVis.render).parameters if name not in ("self", "param", *fixed)]
    check_names("rendering", options, allowed)
