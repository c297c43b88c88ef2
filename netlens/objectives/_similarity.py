"""The similarity of an embedding to that of another picture, or to a given embedding such as that of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from netlens.errors import NetLensError, NonFiniteError, NotApplicable
from netlens.flat.keys import EMBEDDING, part
from netlens.flat.reading import vectors_in
from netlens.objectives._base import Objective, Record
from netlens.objectives._reference import Reference


@dataclass(frozen=True, repr=False, eq=False)
class Similarity(Reference):
    """The cosine of the angle between two embeddings; see `similarity`."""

    name: str = ""

    def reference_tensors(self, record: Record, name: str) -> tuple[Tensor, ...]:
        vectors = _vectors(record, name)
        if not (vectors != 0).any(1).all():
            raise NotApplicable(f"the embedding of the reference in {record.flat.name} is 0, so it has no direction.")
        return (vectors,)

    def compare(self, record: Record, name: str, *reference: Tensor) -> Tensor:
        vectors, other = _vectors(record, name), reference[0]
        if vectors.shape[1] != other.shape[1]:
            raise NetLensError(
                f"the reference has {other.shape[1]} numbers, but the embedding of {record.flat.name} has "
                f"{vectors.shape[1]}; give an embedding of the same space."
            )
        return cosine_similarity(vectors, other.to(vectors), dim=1)

    def __repr__(self) -> str:
        return self.name


def similarity(reference: Any, *, layer: str | None = None, head: str | int | None = None) -> Objective:
    """The cosine of the angle between the embedding of the image and that of a reference: e · r / (‖e‖ ‖r‖).

    It is for networks that embed images: siamese networks, CLIP, SigLIP, DINO. An activation that is maps or tokens
    counts by its mean over positions.

    Args:
        reference: What to compare with.

            - An embedding: numbers (D,), or (N, D) with one row per sample, such as the embedding of a text that the
              other half of CLIP gives. Its length does not matter.
            - Anything else is a picture, or a batch of pictures with one per sample, in a form that `NetLens` takes.
              The network embeds it once.
        layer: The layer whose activation is the embedding; None for the output of the network.
        head: The output that is the embedding, by name or index, if the network has several; None for the one that is
            known as an embedding, such as `image_embeds` or `pooler_output`.

    Raises:
        NetLensError: The embedding is 0 or holds NaN or Inf; or both `layer` and `head` are given. When the objective
            is computed: the embeddings differ in size.
        NotApplicable: When the objective is computed: netlens does not know which of several outputs is the embedding.

    Example:
        >>> from netlens.objectives import Record
        >>> from netlens.zoo import open_network
        >>> flat, x = open_network(), torch.rand(2, 3, 64, 64)
        >>> like_the_first = similarity(x[:1], layer="trunk_output")
        >>> value = like_the_first(Record(flat, flat.record(x, layers=like_the_first.layers)))
        >>> round(value[0].item(), 5), bool(value[1] < 1)
        (1.0, True)
    """
    if layer is not None and head is not None:
        raise NetLensError("give a layer or a head of similarity, not both.")
    names = (layer if layer is not None else part(EMBEDDING, head),)
    embedding = _as_embedding(reference)
    if embedding is None:
        return Similarity(names, reference, name=f"similarity({_text(layer, head)})")
    return Similarity(
        names, None, prepared_tensors=((embedding,),), name=f"similarity(embedding{_text(layer, head, ', ')})"
    )


def _as_embedding(reference: Any) -> Tensor | None:
    """(1 or N, D): the reference, if it is an embedding; None if it is a picture."""
    numbers = getattr(reference, "dtype", None)
    if numbers is None or getattr(reference, "ndim", 3) not in (1, 2):
        return None
    embedding = torch.as_tensor(reference).detach()
    if not embedding.is_floating_point():
        return None
    embedding = embedding[None] if embedding.ndim == 1 else embedding
    if not torch.isfinite(embedding).all():
        raise NonFiniteError("the embedding of similarity holds NaN or Inf.")
    if not (embedding != 0).any(1).all():
        raise NetLensError("the embedding of similarity is 0, so it has no direction.")
    return embedding


def _vectors(record: Record, name: str) -> Tensor:
    return vectors_in(record.flat, record.flat.key(name), record[name])


def _text(layer: str | None, head: str | int | None, before: str = "") -> str:
    chosen = f"layer={layer!r}" if layer is not None else f"head={head!r}"
    return "" if layer is None and head is None else before + chosen
