"""The loop: stages of growing size, callbacks, progress, early stop and resumption."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from netlens.errors import NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.flat.intake import weight_of
from netlens.flat.running import differentiating
from netlens.objectives import Objective
from netlens.results import State
from netlens.visualization._ascent import Ascent, MakeOptimizer
from netlens.visualization._callbacks import Callback, Moment
from netlens.visualization._gradients import GradientTransform
from netlens.visualization._judge import Judge, channels_of
from netlens.visualization._schedule import Schedule, Stop
from netlens.visualization._tiled_judge import TiledJudge
from netlens.visualization.params import Param, Size, extent_of
from netlens.visualization.transforms import Transform


@dataclass(frozen=True)
class Loop:
    """One optimization with all its options."""

    flat: FlatModel
    objective: Objective
    transforms: Transform
    param: Param
    steps: int
    optimizer: MakeOptimizer
    schedule: Schedule
    gradient: Sequence[GradientTransform]
    redirect: int
    callbacks: Sequence[Callback]
    stop: Stop | None
    progress: bool
    tile: int | None = None

    def run(self, resume: State | None = None) -> tuple[Tensor, State, Tensor]:
        """Run the optimization.

        Returns:
            The final pictures (N, C, H, W), the final state, and which samples (N,) the network has never changed.
        """
        with differentiating():
            step = start = 0 if resume is None else resume.step
            stage = self.schedule.stage(max(0, step - 1), self.steps)
            ascent = self._initial(stage) if resume is None else self._resumed(stage, resume)
            alive = ascent.alive.clone()
            self._call_callbacks("on_start", ascent, step)
            quiet = None if self.progress else True
            with tqdm(total=self.steps, initial=step, delay=1, disable=quiet, leave=False) as bar:
                while step < self.steps and not (self.stop is not None and ascent.done.all()):
                    if self.schedule.stage(step, self.steps) != stage:
                        stage += 1
                        alive |= ascent.alive
                        ascent = self._grown(stage, ascent)
                    ascent.step(step, step < self.redirect, self.schedule.rate(step, self.steps))
                    step += 1
                    ascent.check(step, now=step == self.steps or bool(self.callbacks))
                    if self.stop is not None:
                        ascent.retire(step, self.stop)
                    self._call_callbacks("on_step", ascent, step)
                    bar.update()
            dead = ~(alive | ascent.alive) & (step > start)
            self._warn_of_dead(dead)
            finished = ascent
            if stage < len(self.schedule.sizes):  # all samples were finished before the last size
                finished = self._grown(len(self.schedule.sizes), ascent)
            self._call_callbacks("on_end", finished, step)
            images = finished.image()
            return images, ascent.state(step), dead  # the state is made last, because both take memory

    def _warn_of_dead(self, dead: Tensor) -> None:
        if dead.any():
            samples = ", ".join(str(int(sample)) for sample in dead.nonzero())
            warnings.warn(
                f"the gradient of {self.objective} of {self.flat.name} was 0 at all steps for sample {samples}, so the "
                "network did not change the picture; choose another layer or channel.",
                NetLensWarning,
                stacklevel=4,
            )

    def _initial(self, stage: int) -> Ascent:
        weights = weight_of(self.flat, torch.empty(0))
        dtype = weights.dtype if weights.dtype == torch.float64 else torch.float32
        parameters = self.param.start(weights.device, dtype)
        n = len(self.param.seeds)
        history = torch.full((self.steps, n), torch.nan, dtype=dtype, device=weights.device)
        done = torch.zeros(n, dtype=torch.bool, device=weights.device)
        param, parameters = self._sized(stage, self.param, parameters)
        return self._ascent(param, parameters, history, done)

    def _resumed(self, stage: int, state: State) -> Ascent:
        if state.step > self.steps:
            raise NetLensError(f"the state is {state.step} steps old already; give a larger total number of steps.")
        ascent = self._initial(stage)
        shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (ascent.parameters, state.parameters)]
        if shapes[0] != shapes[1]:
            raise NetLensError(
                f"the state has tensors {shapes[1]}, but the param has {shapes[0]}; give the same param as before."
            )
        like = ascent.history
        like[: state.step] = state.history.to(like)
        parameters = [tensor.to(like) for tensor in state.parameters]
        resumed = self._ascent(ascent.param, parameters, like, state.done.to(like.device))
        resumed.remember(state)
        return resumed

    def _grown(self, stage: int, ascent: Ascent) -> Ascent:
        param, parameters = self._sized(stage, ascent.param, ascent.parameters)
        return self._ascent(param, parameters, ascent.history, ascent.done)

    def _sized(self, stage: int, param: Param, parameters: Sequence[Tensor]) -> tuple[Param, list[Tensor]]:
        size: Size = (*self.schedule.sizes, self.param.extent)[stage]
        if extent_of(size) == param.extent:
            return param, list(parameters)
        return param.resized(parameters, size)

    def _ascent(self, param: Param, parameters: Sequence[Tensor], history: Tensor, done: Tensor) -> Ascent:
        judge: Judge | TiledJudge
        if self.tile is not None and max(param.extent) > self.tile:
            judge = TiledJudge.of(self.flat, self.objective, self.transforms, param.extent, self.tile)
        else:
            judge = Judge.of(self.flat, self.objective, self.transforms, param.extent)
        with torch.no_grad():
            judge = judge.prepared(param.image(parameters))
        return Ascent(judge, param, parameters, self.optimizer, self.gradient, history, done)

    def _call_callbacks(self, event: str, ascent: Ascent, step: int) -> None:
        if self.callbacks:
            moment = Moment(
                step=step,
                steps=self.steps,
                values=ascent.history[step - 1].clone() if step else None,
                draw=ascent.image,
                capture=lambda: ascent.state(step),
            )
            for callback in self.callbacks:
                getattr(callback, event)(moment)


def suited(param: Param, flat: FlatModel) -> Param:
    """The parameterization, with as many channels as the network reads."""
    channels = channels_of(flat)
    return param if param.channels == channels else param.with_channels(channels)
