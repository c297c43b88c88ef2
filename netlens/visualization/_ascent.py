"""One stage of an optimization, with pictures of one size: each step improves a batch of independent pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from netlens.errors import NetLensError, NonFiniteError
from netlens.fast.chunks import Chunks, fitting
from netlens.flat.memory import metered
from netlens.results import State
from netlens.visualization._gradients import GradientTransform
from netlens.visualization._judge import Judge
from netlens.visualization._schedule import Stop
from netlens.visualization._tiled_judge import TiledJudge
from netlens.visualization.params import Param, leaf
from netlens.visualization.transforms import shaped

MakeOptimizer = Callable[[list[Tensor]], Optimizer]
"""Takes the tensors to optimize and returns an optimizer of torch: its class, or `partial(Adam, lr=0.1)`."""

# optimizers that move each number independently, so that samples do not depend on their batch
_ELEMENTWISE = {
    *(torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax, torch.optim.SGD),
    *(torch.optim.ASGD, torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.RMSprop, torch.optim.Rprop),
}
_CHECK_EVERY = 16  # steps between two checks on a GPU, because a check waits for the device


@dataclass
class Group:
    """Samples that share an optimizer: all samples; or only one sample, if the optimizer is not elementwise."""

    rows: range
    param: Param
    parameters: list[Tensor]
    optimizer: Optimizer


class Ascent:
    """One stage of an optimization: a batch of pictures of one size, with its judge and its optimizers.

    After `stop` says that a sample is finished, its picture no longer changes, while the other samples continue. If
    pictures share tensors, they finish only together.
    """

    def __init__(
        self,
        judge: Judge | TiledJudge,
        param: Param,
        parameters: Sequence[Tensor],
        make_optimizer: MakeOptimizer,
        gradient: Sequence[GradientTransform],
        history: Tensor,  # (steps, N); the steps fill it, and earlier stages have filled their rows
        done: Tensor,  # (N,)
    ) -> None:
        self.judge, self.param, self.gradient, self.history = judge, param, gradient, history
        self.groups = self._groups(parameters, make_optimizer)
        self.rates = [[entry["lr"] for entry in group.optimizer.param_groups] for group in self.groups]
        self.done = done
        self.alive = done.clone()  # (N,), whether a sample is finished or has had a gradient that is not 0
        self.finished_parameters = self.parameters if bool(done.any()) else []
        self.health = torch.zeros_like(history)
        self.checked = 0
        self.chunks = Chunks()  # how many pictures run together, as the first step measures

    def _groups(self, parameters: Sequence[Tensor], make_optimizer: MakeOptimizer) -> list[Group]:
        leaves = [leaf(tensor) for tensor in parameters]
        optimizer = make_optimizer(leaves)
        if not isinstance(optimizer, Optimizer):
            kind = type(optimizer).__name__
            raise NetLensError(f"optimizer must return an optimizer of torch, such as partial(Adam), not a {kind}.")
        if {id(tensor) for group in optimizer.param_groups for tensor in group["params"]} != set(map(id, leaves)):
            raise NetLensError("the optimizer must optimize all tensors that it is given, and no others.")
        if any(group.get("maximize") for group in optimizer.param_groups):
            raise NetLensError("the objective is maximized already; leave maximize=True out of the optimizer.")
        n = len(self.param.seeds)
        if type(optimizer) in _ELEMENTWISE or n == 1 or self.param.shared or self._entangled(leaves):
            return [Group(range(n), self.param, leaves, optimizer)]
        rows = [range(i, i + 1) for i in range(n)]
        leaves_by_row = [[leaf(tensor[row.start : row.stop]) for tensor in parameters] for row in rows]
        return [
            Group(row, self.param.take(row), row_leaves, make_optimizer(row_leaves))
            for row, row_leaves in zip(rows, leaves_by_row, strict=True)
        ]

    def _entangled(self, parameters: list[Tensor]) -> bool:
        """Whether the objective of a sample depends on the other samples, as `diversity` does."""
        generators = [_generator(seed, 0) for seed in self.param.seeds]
        values, _ = self.judge(self.param.image(parameters), generators, redirect=True)
        gradients = torch.autograd.grad(values[0], parameters, allow_unused=True, materialize_grads=True)
        return any(bool(gradient[1:].any()) for gradient in gradients)

    def image(self) -> Tensor:
        """The current pictures (N, C, H, W)."""
        with torch.no_grad():
            if len(self.groups) > 1:
                return self.param.image(self.parameters)
            return self.param.image(self.groups[0].parameters)  # without the copies, which are large

    @property
    def parameters(self) -> list[Tensor]:
        """The current parameters of all samples."""
        by_group = [[tensor.detach() for tensor in group.parameters] for group in self.groups]
        return [
            tensors[0].clone() if len(tensors) == 1 else torch.cat(tensors) for tensors in zip(*by_group, strict=True)
        ]

    def step(self, step: int, redirect: bool, rate: float) -> None:
        """Improve all pictures that are not finished."""
        for group, rates in zip(self.groups, self.rates, strict=True):
            if len(self.groups) > 1 and self.done[group.rows.start]:
                self.history[step, group.rows.start : group.rows.stop] = torch.nan
                continue
            for entry, base_rate in zip(group.optimizer.param_groups, rates, strict=True):
                entry["lr"] = base_rate * rate
            self._step(group, step, redirect)

    def _step(self, group: Group, step: int, redirect: bool) -> None:
        rows = slice(group.rows.start, group.rows.stop)
        evaluated = False

        def closure() -> Tensor:
            nonlocal evaluated
            for tensor in group.parameters:
                tensor.grad = None  # some optimizers evaluate several times in a step
            # a picture in tiles is large, so its graph is made again after the tiles have run
            tiled = isinstance(self.judge, TiledJudge)
            with torch.set_grad_enabled(not tiled):
                images = group.param.image(group.parameters)
            values, gradient, reached = self._judged(images.detach(), group.rows, step, redirect)
            if tiled:
                del images
                images = group.param.image(group.parameters)
            self.alive[rows] |= reached
            for transform in self.gradient:
                gradient = shaped(transform(gradient), gradient.shape, "a gradient transform")
            gradients = list(
                torch.autograd.grad(images, group.parameters, gradient, allow_unused=True, materialize_grads=True)
            )
            del images, gradient
            if not evaluated:
                self._note(step, rows, values, gradients)
                evaluated = True
            for tensor in group.parameters:
                tensor.grad = gradients.pop(0).neg().contiguous()  # some optimizers expect contiguous gradients
            return -values.sum()

        group.optimizer.step(closure)  # type: ignore[arg-type]
        for tensor in group.parameters:
            tensor.grad = None  # the next step makes its own gradients, and these may be large

    def _judged(self, images: Tensor, rows: range, step: int, redirect: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The objective of each picture (n,), its gradient (n, C, H, W), and whether the network has one (n,)."""

        def work(first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
            values, gradient, reached = self._differentiated(images[first:last], rows[first:last], step)
            if redirect and not reached.all():
                _, woken, reached_again = self._differentiated(images[first:last], rows[first:last], step, redirect)
                gradient, reached = _chosen(reached, gradient, woken), reached | reached_again
            return values, gradient, reached

        if len(images) == 1 or not self.judge.objective.splits:
            return work(0, len(images))
        if self.chunks.size is None:  # measured here, so that a resumed run has the same chunks as an uninterrupted one
            with metered() as meter:
                work(0, 1)
            self.chunks.size = fitting(meter)
        results = zip(*self.chunks.over(len(images), work, progress=False), strict=True)
        values, gradients, reached = (torch.cat(result) for result in results)
        return values, gradients, reached

    def _differentiated(
        self, images: Tensor, rows: range, step: int, redirect: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        point = images.detach().requires_grad_()
        # if an optimizer evaluates the objective several times in a step, each evaluation has the same disturbance
        generators = [_generator(self.param.seeds[row], step) for row in rows]
        is_whole_batch = len(rows) == len(self.param.seeds)
        values, shown = self.judge(point, generators, None if is_whole_batch else rows, redirect)
        if not values.requires_grad:
            raise NetLensError(f"{self.judge.objective} does not depend on the picture, so it cannot be optimized.")
        # samples are independent, so the gradient of the sum holds the gradient of each sample
        total = values.sum()
        gradient, through = torch.autograd.grad(total, (point, shown), allow_unused=True, materialize_grads=True)
        # `through` is the gradient that passes the network; a penalty on the picture has a gradient without it
        return values.detach(), gradient, through.flatten(1).any(1)

    def _note(self, step: int, rows: slice, values: Tensor, gradients: Sequence[Tensor]) -> None:
        health = values * 0
        for gradient in gradients:
            strongest = gradient.flatten(1).abs().amax(1)
            health = health + strongest * 0
        self.history[step, rows] = values.to(self.history.dtype)
        self.health[step, rows] = health.to(self.health.dtype)

    def check(self, steps: int, now: bool) -> None:
        """Raise `NonFiniteError` if a value or gradient of the first `steps` steps is NaN or Inf.

        On a GPU, this is checked only every 16 steps, and if `now` is True.
        """
        if self.history.device.type != "cpu" and steps % _CHECK_EVERY and not now:
            return
        self.checked, start = steps, self.checked
        bad = (self.health[start:steps] != 0) & ~self.done  # health is 0, or NaN
        if bad.any():
            step, sample = (int(i) for i in bad.nonzero()[0])
            raise NonFiniteError(
                f"step {start + step}: {self.judge.objective} of {self.judge.flat.name}, or its gradient, is "
                f"NaN or Inf for sample {sample} (seed {self.param.seeds[sample]}); try a lower learning rate or "
                "smaller weights."
            )

    def retire(self, steps: int, stop: Stop) -> None:
        """Restore the pictures of finished samples, and find the samples that are finished after `steps` steps."""
        self.history[steps - 1].masked_fill_(self.done, torch.nan)
        if len(self.groups) == 1 and self.done.any():
            # restored at once, because the objective of other samples may depend on them
            with torch.no_grad():
                for current, finished in zip(self.groups[0].parameters, self.finished_parameters, strict=True):
                    current.copy_(_chosen(self.done, finished, current))
        newly = shaped(stop(self.history[:steps]), self.done.shape, "stop").to(self.done) & ~self.done
        if newly.any() and (newly.all() or not self.param.shared):
            self.finished_parameters = self.parameters
            self.done = self.done | newly

    def state(self, step: int) -> State:
        """The state that lets another run continue after `step` steps."""
        memories = [group.optimizer.state_dict()["state"] for group in self.groups]
        return State(
            step=step,
            parameters=tuple(tensor.cpu() for tensor in self.parameters),
            history=self.history[:step].cpu().clone(),
            optimizers=tuple(tree_map(_copied, memory) for memory in memories),
            done=self.done.cpu().clone(),
        )

    def remember(self, state: State) -> None:
        """Load the state of the optimizers."""
        if len(state.optimizers) != len(self.groups):
            raise NetLensError("the state belongs to another optimizer; resume with the optimizer of the earlier run.")
        for group, memory in zip(self.groups, state.optimizers, strict=True):
            options = group.optimizer.state_dict()["param_groups"]
            # a copy, because the optimizer writes into these tensors
            group.optimizer.load_state_dict({"state": tree_map(_copied, dict(memory)), "param_groups": options})


def _copied(value: Any) -> Any:
    return value.detach().cpu().clone() if isinstance(value, Tensor) else value


def _chosen(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (yes.ndim - 1)), yes, no)


def _generator(seed: int, step: int) -> torch.Generator:
    # one generator for each step, so that a resumed run needs no other state than the number of the step
    state = np.random.SeedSequence(seed, spawn_key=(1, step)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
