"""Vectors: the activation at one random place of each picture, as a question of a survey."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.flat.keys import OUTPUT, SCORES, part
from netlens.studies._chance import chances, vectors_at
from netlens.survey import Batch, Question, State


@dataclass(frozen=True)
class Vectors(Question):
    """The activation of a layer at one random place of each of some random pictures, by a hash of seed and number.

    Args:
        layer: The key of the layer.
        samples: The number of pictures.
        seed: Another seed: other pictures and places.
    """

    layer: str
    samples: int
    seed: int

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer, part(SCORES, None), OUTPUT)

    def update(self, state: State, batch: Batch) -> State:
        maps = batch.maps(self.layer)
        chance = chances(self.seed, batch.samples.tolist(), 3)
        vectors, places = vectors_at(maps, chance[:, 1:])
        try:
            scores = batch.record.scores().cpu()
            predicted = scores.argsort(dim=1, descending=True, stable=True)[:, 0]
        except NotApplicable:  # embeddings have an atlas, too, without predictions
            scores = predicted = torch.full((len(batch),), -1)
        predicted = predicted if scores.ndim < 3 else torch.full((len(batch),), -1)
        batch_state = {
            "chance": chance[:, 0],
            "samples": batch.samples,
            "labels": batch.labels,
            "predicted": predicted,
            "places": places,
            "vectors": vectors,
        }
        return self.merge(state, batch_state)

    def merge(self, a: State, b: State) -> State:
        if not (a and b):
            return self._chosen(a or b)
        return self._chosen({name: torch.cat([a[name], b[name]]) for name in a})

    def _chosen(self, state: State) -> State:
        """The state with the chosen pictures only, in the order of chance, of equal chances by sample."""
        if not state or len(state["samples"]) <= self.samples:
            return state
        by_sample = state["samples"].argsort(stable=True)
        order = by_sample[state["chance"][by_sample].argsort(stable=True)][: self.samples]
        return {name: one[order] for name, one in state.items()}

    def finish(self, state: State) -> State:
        """The chosen pictures in the order of the data."""
        if not state:
            return state
        order: Tensor = state["samples"].argsort(stable=True)
        return {name: one[order] for name, one in state.items()}
