"""OptVis: the renderer, which makes pictures that maximize an objective."""

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
from netlens.options import checked, known
from netlens.results.provenance import Provenance
from netlens.results.render import Render
from netlens.results.state import State
from netlens.visualization.ascent import MakeOptimizer
from netlens.visualization.callbacks import Callback, Frames
from netlens.visualization.gradients import GradientTransform
from netlens.visualization.loop import Loop, suited
from netlens.visualization.params.base import Param
from netlens.visualization.schedule import Schedule, Stop
from netlens.visualization.transforms import Transform, standard

MOST_STEPS = 1_000_000  # of an optimization: what is beyond is a mistake, and its history would fill the memory

ADAM: MakeOptimizer = partial(torch.optim.Adam, lr=0.05)


class OptVis:
    """Makes pictures that maximize an objective, as the network sees them through small disturbances.

    transforms: by default `standard()`; `Chain()` disturbs nothing. Colors are in [0, 1]; the network gets them as its
    adapter's preprocessing says, at the pictures' size if it can take that, else at the size that it expects.

    Olah et al. 2017, https://distill.pub/2017/feature-visualization
    """

    def __init__(self, flat: FlatModel, objective: Objective, transforms: Transform | None = None) -> None:
        checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
        checked("the objective", objective, Objective, hint="give one such as channel('layer3', 12)")
        if isinstance(transforms, type) or not callable(transforms):  # a function may take the place of a transform
            checked("transforms", transforms, Transform | None, hint="give one such as Chain()")
        flat.keys_of(objective.layers)  # a wrong name raises here, before anybody waits
        self.flat = flat
        self.objective = objective
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
        """Optimize the pictures that `param` makes; no sample of the batch depends on another.

        Args:
            param: Makes the pictures.
            steps: Steps in all, including those done before `resume`; from 1 to 1,000,000.
            optimizer: Takes the tensors and returns an optimizer of torch. One that is not elementwise, such as LBFGS,
                gets each sample by itself.
            schedule: Learning rates and sizes over the steps.
            gradient: One transform of the gradient at the picture, or several, applied in their order.
            redirect: Number of first steps in which rectifiers let gradients pass to samples that would get none.
            callbacks: Watch the optimization.
            stop: Says which samples are done, see `Plateau`.
            progress: Whether to show progress in a terminal.
            resume: The result of an earlier run with the same options, or its state.

        Raises:
            NonFiniteError: NaN or Inf arises; the message names the step and the sample.
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
            raise NetLensError("this render has no state to go on from; parts, rows, dreams and styles have none.")
        schedule = Schedule() if schedule is None else schedule
        transforms = (gradient,) if callable(gradient) or not isinstance(gradient, Sequence) else tuple(gradient)
        checked("gradient", transforms, Sequence[Callable[..., Any]], hint="give transforms such as normalized")
        param = suited(param, self.flat)
        images, state = Loop(
            *(self.flat, self.objective, self.transforms, param, steps, optimizer, schedule, transforms),
            *(redirect, callbacks, stop, progress),
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
        )

    def _captions(self, n: int) -> tuple[str, ...] | None:
        """Each sample's own objective, where they differ and no class says how."""
        if n == 1 or not self.objective.splits or self.objective.targets(self.flat, n) is not None:
            return None
        own = tuple(repr(self.objective.take([i])) for i in range(n))
        return own if len(set(own)) > 1 else None

    def _provenance(self, n: int, options: dict[str, Any]) -> Provenance:
        targets, names = self.objective.named_targets(self.flat, n)
        return Provenance(
            method="OptVis",
            network=self.flat.name,
            objective=repr(self.objective),
            targets=targets,
            target_names=names,
            options={name: _described(value) for name, value in options.items()},
        )


def _finite(images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    bad = (~torch.isfinite(images)).flatten(1).any(1)
    if bad.any():
        sample = int(bad.nonzero()[0])
        raise NonFiniteError(
            f"after the last step, the picture of sample {sample} (seed {seeds[sample]}) is NaN or Inf."
        )
    return images


def _described(option: Any) -> Any:
    """An option as its class and its own options."""
    if is_dataclass(option) and not isinstance(option, type):
        own = {field.name: _described(getattr(option, field.name)) for field in fields(option)}
        return {type(option).__name__: own}
    if isinstance(option, partial):
        return {_described(option.func): _described(option.keywords)}
    if isinstance(option, dict):
        return {str(key): _described(value) for key, value in option.items()}
    if isinstance(option, (tuple, list)):
        return [_described(item) for item in option]
    return getattr(option, "__name__", option)


def check_options(options: Iterable[str], given: Sequence[str] = ("steps", "progress")) -> None:
    """Raise unless these are names of options of `OptVis.render` that the caller does not set itself."""
    own = [name for name in inspect.signature(OptVis.render).parameters if name not in ("self", "param", *given)]
    known("rendering", options, own)
