"""The landscape of the loss around the weights of a network, along random directions."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.heads import head_of
from netlens.flat.keys import OUTPUT, SCORES, part
from netlens.objectives import Record
from netlens.options import checked
from netlens.preprocessing import Preprocessing
from netlens.studies._directions import filter_normalized
from netlens.studies._stored import Stored
from netlens.survey import Batch, Question, State, Survey

if TYPE_CHECKING:
    from netlens.show import Picture


@dataclass(frozen=True, eq=False, repr=False)
class Landscape(Stored):
    """The loss of a network at weights around its own.

    Attributes:
        network: The name of the network.
        steps: (n,), float64: how far the weights move along each direction. 1 changes each filter by its own length.
        losses: (n,), or (n, n) with the first direction downwards, float64: the mean negative logarithm of the
            probability of the label; infinite or NaN where the network overflows.
        accuracies: Of the same shape: the share of samples whose label is predicted.
        samples: The number of samples.
        seed: The seed of the directions.
    """

    network: str
    steps: Tensor
    losses: Tensor
    accuracies: Tensor
    samples: int
    seed: int

    @property
    def loss(self) -> float:
        """The loss of the network itself."""
        middle = len(self.steps) // 2
        return float(self.losses[middle] if self.losses.ndim == 1 else self.losses[middle, middle])

    def show(self) -> Picture:
        """Draw the line, with the accuracy; or the surface, as lines of equal loss on a logarithmic scale."""
        from netlens.show import Picture

        picture = Picture(860, 560 if self.losses.ndim == 1 else 780)
        title = f"{self.network}: loss of {self.samples:,} samples around its weights, {self.loss:.3g} at them"
        picture.write(title, 20, 16, 22, 820)
        (self._line if self.losses.ndim == 1 else self._surface)(picture)
        return picture

    def _line(self, picture: Picture) -> None:
        from netlens.show import COLORS, chart

        axes = chart(picture, (110, 80, 620, 400), across="along the direction, in lengths of filters", up="loss")
        axes.plot(self.steps, self.losses, color=COLORS[0], marker="o", markersize=2, linewidth=1)
        axes.yaxis.label.set_color(COLORS[0])
        other = axes.twinx()
        other.plot(self.steps, self.accuracies, color=COLORS[1], linewidth=1)
        other.set_ylim(0, 1.02)
        other.set_ylabel("accuracy", fontsize=axes.yaxis.label.get_size(), color=COLORS[1])
        other.tick_params(labelsize=axes.yaxis.get_ticklabels()[0].get_size(), width=0.5, length=2)
        for name, spine in other.spines.items():
            spine.set_visible(name == "right")
            spine.set_linewidth(0.5)

    def _surface(self, picture: Picture) -> None:
        import numpy as np

        from netlens.show import chart

        axes = chart(picture, (110, 80, 600, 600), across="along the second direction", up="along the first direction")
        finite = self.losses[self.losses.isfinite()]
        lowest = max(float(finite.min()), 1e-4)
        values = self.losses.nan_to_num(float(finite.max()), float(finite.max())).clamp(min=lowest)
        highest = max(float(values.max()), 1.1 * lowest)
        levels = np.geomspace(lowest, highest, 16)
        filled = axes.contourf(
            self.steps, self.steps, values, levels=levels, cmap="viridis_r", norm="log", extend="both"
        )
        axes.contour(self.steps, self.steps, values, levels=levels, colors="white", linewidths=0.3)
        axes.plot(0, 0, marker="+", color="black", markersize=6)
        bar = picture.colorbar(filled, ax=[axes], location="right", fraction=0.05, pad=0.03)
        size = axes.yaxis.get_ticklabels()[0].get_size()
        shown = levels[::3].tolist()
        bar.set_ticks(shown, labels=[f"{level:.2g}" for level in shown])
        bar.ax.minorticks_off()
        bar.ax.tick_params(labelsize=size, width=0.5, length=2)
        bar.outline.set_linewidth(0.5)


@dataclass(frozen=True, eq=False)
class Losses(Question):
    """The loss and the accuracy at several points of the space of weights.

    Args:
        weights: A copy of the network, whose weights the question changes while it runs.
        directions: The directions, each by the name of the parameter.
        points: (p, directions), float64: the points.
    """

    weights: FlatModel
    directions: tuple[dict[str, Tensor], ...]
    points: Tensor

    @property
    def layers(self) -> tuple[str, ...]:
        return ()  # the copy runs

    def update(self, state: State, batch: Batch) -> State:
        if (batch.labels < 0).any():
            name = batch.names[int((batch.labels < 0).nonzero()[0])]
            raise NetLensError(f"a loss needs a label of each sample, but {name} has none.")
        moved = copy.deepcopy(self.weights)
        base_parameters = dict(self.weights.named_parameters())
        parameters = dict(moved.named_parameters())
        sums, right = [], []
        for point in self.points:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    if name in self.directions[0]:
                        change = sum(
                            float(step) * direction[name]
                            for step, direction in zip(point, self.directions, strict=True)
                        )
                        parameter.copy_(base_parameters[name] + change)
            losses, hits = _losses(moved, batch)
            sums.append(losses.sum())
            right.append(hits.sum())
        batch_state = {"losses": torch.stack(sums), "right": torch.stack(right), "count": torch.tensor([len(batch)])}
        return self.merge(state, batch_state)

    def merge(self, a: State, b: State) -> State:
        return {name: a[name] + b[name] for name in a} if a and b else a or b

    def finish(self, state: State) -> State:
        return state


def _losses(flat: FlatModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """(N,), float64: the loss of each sample; and (N,), int64: whether its label is predicted."""
    keys = flat.keys_of([part(SCORES, None), OUTPUT])
    scores = Record(flat, flat.run({flat.inputs[0]: batch.x}, keys)).scores().cpu().double()
    if scores.ndim != 2:
        raise NotApplicable(
            f"{flat.name} has scores of shape {tuple(scores.shape)}, but a loss needs one score of each class per "
            "sample."
        )
    if int(batch.labels.max()) >= scores.shape[1]:
        raise NetLensError(f"a label is {int(batch.labels.max())}, but {flat.name} has {scores.shape[1]} classes.")
    log_probabilities = head_of(flat).log_probabilities(scores)
    losses = -log_probabilities.gather(1, batch.labels[:, None])[:, 0]
    return losses, (scores.argsort(dim=1, descending=True, stable=True)[:, 0] == batch.labels).long()


def landscape(
    flat: FlatModel,
    data: Any,
    *,
    surface: bool = False,
    reach: float = 1.0,
    steps: int = 25,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    workers: int = 0,
    progress: bool = True,
) -> Landscape:
    """The loss along one random direction from the weights, or over the plane of two.

    A direction has normal random numbers for each weight, scaled so that each filter of the direction has the norm of
    the filter of the network. So networks whose weights have other scales can be compared. Biases and the weights of
    norms do not move. The network runs in eval mode, and batch norms keep their running statistics, which are not
    computed anew for moved weights. The code of the paper does the same.

    The weights that move are those of a copy.

    Args:
        flat: The network.
        data: A batch (x, labels) of preprocessed inputs (N, C, H, W) and classes (N,); or what a survey takes, with a
            label for each sample.
        surface: Whether to take two directions, which needs the square of the number of runs.
        reach: How far to go to both sides, above 0; 1 changes each filter by its own length.
        steps: The number of points along a direction: an odd number, at least 3, so that the middle is the network.
        seed: The seed of the directions.
        preprocessing: How a picture becomes an input; None for that of the network.
        workers: The number of processes; 0 for this one. They change nothing but the time.
        progress: Whether a terminal shows a progress bar.

    Raises:
        NetLensError: A sample has no label, or no sample can be read.
        NotApplicable: The network does not give one score of each class per sample.

    Example:
        >>> from netlens import open_network
        >>> x, labels = torch.zeros(2, 3, 64, 64), torch.tensor([0, 1])
        >>> line = landscape(open_network(), (x, labels), steps=3, progress=False)
        >>> line.steps.tolist(), line.losses.shape
        ([-1.0, 0.0, 1.0], torch.Size([3]))

    Li et al. 2018, https://arxiv.org/abs/1712.09913
    """
    checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
    surface, reach = checked("surface", surface, bool), checked("reach", reach, float, above=0)
    steps = checked("steps", steps, int, least=3, most=1001)
    seed = checked("seed", seed, int, least=0, most=2**31 - 2)
    if steps % 2 == 0:
        raise NetLensError(f"steps is {steps}, but must be odd, so that the middle is the network itself.")
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(one, Tensor) for one in data):
        data = TensorDataset(*data)
    flat.follow()
    weights = copy.deepcopy(flat)
    directions = tuple(filter_normalized(weights, seed + i) for i in range(1 + surface))
    if not any(one.any() for one in directions[0].values()):
        raise NetLensError(f"{flat.name} has no weights of two dimensions or more, so no filter can move.")
    along = torch.linspace(-reach, reach, steps, dtype=torch.float64)
    along[steps // 2] = 0
    points = torch.cartesian_prod(along, along) if surface else along[:, None]
    question = Losses(weights, directions, points)
    result = Survey(flat, data, [question], workers=workers, preprocessing=preprocessing, progress=progress).run()
    state: State = result.answer(question)
    if not state:
        raise NetLensError(f"none of the {len(result)} pictures can be read; the first: {result.unreadable[0].reason}")
    shape = (steps, steps) if surface else (steps,)
    losses, accuracies = ((state[name].double() / state["count"]).view(shape) for name in ("losses", "right"))
    return Landscape(flat.name, along, losses, accuracies, int(state["count"]), seed)
