"""Both: what two networks do with the same samples, as a question of a survey of the first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.heads import head_of
from netlens.flat.intake import weight_of
from netlens.flat.keys import OUTPUT, SCORES, part
from netlens.objectives import Record
from netlens.studies._chance import chances, vectors_at
from netlens.survey import Batch, Question, State

_BY_SAMPLE = ("samples", "labels", "predicted_a", "predicted_b", "confidence_a", "confidence_b")
_SAMPLED = ("chance", "sample")


@dataclass(frozen=True, eq=False)
class Both(Question):
    """The activations and predictions of two networks, and of networks that are put together from both.

    Args:
        b: The second network, which nobody else changes. The survey runs the first one.
        keys: The layers that are compared, in the order of the network.
        samples: The number of samples whose vectors are kept.
        pictures: The number of pictures that are kept of those on which the networks disagree.
        seed: For the choice of samples and places.
        stitch: Whether to put the networks together.
    """

    runs: ClassVar[bool] = True

    b: FlatModel
    keys: tuple[str, ...]
    samples: int
    pictures: int
    seed: int
    stitch: bool

    @property
    def layers(self) -> tuple[str, ...]:
        return ()  # both networks run in `update`

    def update(self, state: State, batch: Batch) -> State:
        a, b, x = batch.flat, self.b, batch.x
        assert a is not None
        cuts = _cuts(a, b, self.keys)
        cut_keys = [key for cut in cuts for key in cut or ()]
        runs = []
        for flat in (a, b):
            wanted = list(dict.fromkeys([*self.keys, *cut_keys, *_answers(flat)]))
            runs.append(flat.run({flat.inputs[0]: x.to(weight_of(flat, x))}, wanted))
        values_a, values_b = runs
        predicted_a, confidence_a = _predicted(a, values_a)
        predicted_b, confidence_b = _predicted(b, values_b)
        by_sample = (batch.samples, batch.labels, predicted_a, predicted_b, confidence_a, confidence_b)
        batch_state: dict[str, Tensor] = dict(zip(_BY_SAMPLE, by_sample, strict=True))
        chance = chances(self.seed, batch.samples.tolist(), 3)
        batch_state |= {"chance": chance[:, 0], "sample": batch.samples}
        batch_state |= {f"x.{sample}": one.cpu() for sample, one in zip(batch.samples.tolist(), x, strict=True)}
        started: Mapping[str, Any] = {a.inputs[0]: x.to(weight_of(b, x))}
        for index, key in enumerate(self.keys):
            maps_a, maps_b = (Record(f, v).maps(key).cpu() for f, v in ((a, values_a), (b, values_b)))
            numbers = _moments(maps_a, maps_b)
            numbers["vectors_a"], _ = vectors_at(maps_a, chance[:, 1:])
            numbers["vectors_b"], _ = vectors_at(maps_b, chance[:, 1:])
            cut = cuts[index]
            if cut is not None and self.stitch and all(_fit(values_a[name], values_b[name]) for name in cut):
                at = {name: values_a[name] for name in cut}
                as_b = {name: at[name].to(values_b[name].dtype) for name in cut}
                numbers |= self._joined_networks(a, started, at, as_b, key, maps_a, batch, predicted_a)
                started = as_b
            else:
                started = {}
            batch_state |= {f"{index}.{name}": number for name, number in numbers.items()}
        return self.merge(state, self._of_chosen_samples(batch_state))

    def _joined_networks(
        self,
        a: FlatModel,
        before: Mapping[str, Any],
        at: Mapping[str, Any],
        as_b: Mapping[str, Any],
        key: str,
        maps_a: Tensor,
        batch: Batch,
        predicted_a: Tensor,
    ) -> dict[str, Tensor]:
        """The results of A up to the layer with B behind it, and of A with this part of B in place of its own.

        Args:
            a: The first network.
            before: The activations of A from which the part up to this layer starts, in the types of B; none if they do
                not fit B.
            at: Those from which the rest starts.
            as_b: The same in the types of B.
            key: The layer.
            maps_a: What A has there.
            batch: The samples.
            predicted_a: What A predicts.
        """
        networks: dict[str, tuple[FlatModel, Mapping[str, Any]]] = {"stitched": (self.b, as_b)}
        numbers: dict[str, Tensor] = {}
        if before:
            part_of_b = self.b.run(before, list(dict.fromkeys([*at, key])))
            networks["swapped"] = (a, {name: part_of_b[name].to(value.dtype) for name, value in at.items()})
            difference = Record(self.b, part_of_b).maps(key).cpu().double() - maps_a.double()
            numbers["own"] = _sum(difference.square())
        for name, (flat, feeds) in networks.items():
            predicted, _ = _predicted(flat, flat.run(feeds, _answers(flat)))
            right = (predicted == batch.labels)[batch.labels >= 0]
            numbers[f"{name}_right"] = right.sum()[None]
            numbers[f"{name}_same"] = (predicted == predicted_a).sum()[None]
        return numbers

    def merge(self, a: State, b: State) -> State:
        if not (a and b):
            return a or b
        merged: dict[str, Tensor] = {}
        for name in dict.fromkeys([*a, *b]):
            if name.startswith("x."):
                merged[name] = a[name] if name in a else b[name]
            elif name in (*_BY_SAMPLE, *_SAMPLED) or name.split(".")[1].startswith("vectors"):
                merged[name] = torch.cat([a[name], b[name]])
        for index in range(len(self.keys)):
            names = [name for name in a if name.startswith(f"{index}.") and name not in merged]
            one, other = ({name.partition(".")[2]: state[name] for name in names} for state in (a, b))
            merged |= _together(one, other, f"{index}.")
        return self._of_chosen_samples(merged)

    def _of_chosen_samples(self, state: dict[str, Tensor]) -> State:
        """The state without the vectors and pictures of samples that are not chosen."""
        # those of the lowest chance; of equal chances, the lowest samples
        order = state["sample"].argsort(stable=True)
        order = order[state["chance"][order].argsort(stable=True)][: self.samples]
        chosen = {name for name in state if name in _SAMPLED or name.partition(".")[2].startswith("vectors")}
        pictures = {f"x.{sample}" for sample in ranked(state)[: self.pictures]}
        return {
            name: one[order] if name in chosen else one
            for name, one in state.items()
            if not name.startswith("x.") or name in pictures
        }

    def finish(self, state: State) -> State:
        return state


def ranked(state: State) -> list[int]:
    """The samples on which the networks disagree: first those of which both are sure, of equal ones the earlier."""
    different = state["predicted_a"] != state["predicted_b"]
    sure = torch.minimum(state["confidence_a"], state["confidence_b"])[different]
    samples = state["samples"][different]
    by_sample = samples.argsort(stable=True)
    order = by_sample[sure[by_sample].argsort(descending=True, stable=True)]
    ranking: list[int] = samples[order].tolist()
    return ranking


def _cuts(a: FlatModel, b: FlatModel, keys: Sequence[str]) -> list[tuple[str, ...] | None]:
    """For each layer, the keys from which both networks can go on behind it; None if the keys differ."""
    pairs = [(a.frontier(key), b.frontier(key)) for key in keys]
    return [one if set(one) == set(other) else None for one, other in pairs]


def _fit(a: Any, b: Any) -> bool:
    """Whether a value of one network can take the place of that of the other one, which may have another precision."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape):
        return False
    return a.dtype == b.dtype or (a.is_floating_point() and b.is_floating_point())


def _answers(flat: FlatModel) -> list[str]:
    return flat.keys_of([part(SCORES, None), OUTPUT])


def _predicted(flat: FlatModel, values: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The predicted class of each sample, of equal scores the lower one, and its probability."""
    scores = Record(flat, values).scores().cpu().double()
    if scores.ndim != 2:
        raise NotApplicable(
            f"{flat.name} has scores of shape {tuple(scores.shape)}; two networks are compared by one score of each "
            "class per sample."
        )
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :1]
    return order[:, 0], head_of(flat).log_probabilities(scores).gather(1, order)[:, 0].exp()


def _moments(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Count, mean and squares of each channel of both, and their products if they have the same shape."""
    state: dict[str, Tensor] = {}
    for one_a, one_b in zip(a, b, strict=True):
        exact_a, exact_b = one_a.flatten(1).double(), one_b.flatten(1).double()
        mean_a, mean_b = exact_a.mean(1), exact_b.mean(1)
        far_a, far_b = exact_a - mean_a[:, None], exact_b - mean_b[:, None]
        of_sample = {
            "count_a": torch.tensor([exact_a.shape[1]]),
            "count_b": torch.tensor([exact_b.shape[1]]),
            "mean_a": mean_a,
            "mean_b": mean_b,
            "squares_a": (far_a * far_a).sum(1),
            "squares_b": (far_b * far_b).sum(1),
        }
        if one_a.shape == one_b.shape:
            of_sample["products"] = (far_a * far_b).sum(1)
        state = _together(state, of_sample)
    return state


def _together(a: State, b: State, prefix: str = "") -> dict[str, Tensor]:
    """The sums of both, by Chan's formula."""
    if not a:
        return {f"{prefix}{name}": one for name, one in b.items()}
    joined: dict[str, Tensor] = {}
    gaps: dict[str, Tensor] = {}
    for side in ("a", "b"):
        count = a[f"count_{side}"] + b[f"count_{side}"]
        share = b[f"count_{side}"].double() / count
        gaps[side] = b[f"mean_{side}"] - a[f"mean_{side}"]
        weight = a[f"count_{side}"] * share
        joined[f"count_{side}"] = count
        joined[f"mean_{side}"] = a[f"mean_{side}"] + gaps[side] * share
        joined[f"squares_{side}"] = a[f"squares_{side}"] + b[f"squares_{side}"] + gaps[side] * gaps[side] * weight
        if "products" in a and side == "b":
            joined["products"] = a["products"] + b["products"] + gaps["a"] * gaps["b"] * weight
    joined |= {name: a[name] + b[name] for name in a if name not in joined}
    return {f"{prefix}{name}": one for name, one in joined.items()}


def _sum(values: Tensor) -> Tensor:
    """(1,): the sum of all values, added up by samples."""
    return values.flatten(1).sum(1).sum()[None]


def check_keys(b: FlatModel, keys: Sequence[str]) -> None:
    """Raise if the second network has other layers."""
    missing = [key for key in keys if not b.layers.has(key)]
    if missing:
        raise NetLensError(
            f"{b.name} has no layer {missing[0]!r}; two networks are compared at layers of the same keys. Give layers= "
            "that both have."
        )
