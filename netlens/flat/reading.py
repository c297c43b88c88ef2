"""Reading: scores, embeddings and boxes, from the values of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from netlens.flat._axes import channel_axis
from netlens.flat._unrolled import Unrolled
from netlens.flat.adapter import Detections
from netlens.flat.heads import Name, head_of, heads_of
from netlens.flat.keys import EMBEDDING, ITEM, OUTPUT, SCORES, part


def key_of(flat: Unrolled, name: Any) -> Any:
    """The exact key of the scores or of the embedding that `name` names (see `part`). Other names stay unchanged."""
    if not isinstance(name, str) or not name.startswith((SCORES, EMBEDDING)):
        return name
    kind, _, chosen = name.partition(" of ")
    if kind == EMBEDDING:
        head = heads_of(flat).embedding(flat.name, chosen or None)
        squeezes_samples = head.activation is None and len(head.ending.moves) == 1
        key = head.ending.scores if squeezes_samples else head.key
        return key if flat.layers.has(key) else OUTPUT
    if chosen.startswith(ITEM):  # the item of a tuple, if the output is a tuple
        chosen = chosen.removeprefix(ITEM) if heads_of(flat).are_items else ""
    head = head_of(flat, chosen or None)
    is_output = not chosen and head.ending.scores == head.key
    return OUTPUT if is_output or not flat.layers.has(head.ending.scores) else head.ending.scores


def scores_in(flat: Unrolled, values: Mapping[str, Any], name: Name | None = None) -> Tensor:
    """The scores of a head, arranged as the output, from the values of a run by key.

    Args:
        flat: The network.
        values: The value at `key_of(flat, part(SCORES, name))`, or the output.
        name: The head; None for the one that holds the scores of classes.
    """
    head = head_of(flat, name)
    if name is None and OUTPUT in values:
        detections = detections_from(flat, values[OUTPUT])
        if detections is not None:
            return detections.logits.amax(1)
        if flat.adapter.logits is not None:
            return flat.adapter.logits(values[OUTPUT])
    key = key_of(flat, part(SCORES, name))  # the run may also have recorded the layer that gives the output
    if key == OUTPUT or key not in values:
        return head.scores(head.of(values[OUTPUT]))
    value = values[key]
    return head.ending.moved(value) if head.ending.exact else head.scores(value)


def logits_from(flat: Unrolled, output: Any) -> Tensor:
    """Scores (N, classes), or maps of them (N, classes, h, w), from the network's output in its own structure.

    If the network ends in a softmax or sigmoid, they are the logarithms or the logits of its probabilities.

    Raises:
        NotApplicable: The output holds no scores of classes. The message names the objective to use.
    """
    return head_of(flat).by_class(scores_in(flat, {OUTPUT: output}), flat.name)


def detections_from(flat: Unrolled, output: Any, size: tuple[int, int] = (1, 1)) -> Detections | None:
    """The candidate boxes in the network's output; None if the network is no detector.

    Args:
        flat: The network.
        output: Its output, in its own structure.
        size: The height and width of the input, in whose pixels the boxes are.
    """
    if isinstance(output, Detections):
        return output
    return None if flat.adapter.detections is None else flat.adapter.detections(output, size)


def vectors_in(flat: Unrolled, key: str, value: Tensor) -> Tensor:
    """(N, D): the value of a layer, or of the output, as one vector for each sample. It is the mean over positions.

    The dimension of the channels follows from the operations. If they do not say, it is dimension 1 of maps, and the
    last one of tokens.
    """
    if value.ndim < 3:
        return value
    leaf = next(iter(flat.program.outputs)) if key == OUTPUT else key
    axis = channel_axis(flat.program, leaf, value.ndim)
    axis = axis if isinstance(axis, int) and axis > 0 else (2 if value.ndim == 3 else 1)
    return value.movedim(axis, 1).flatten(2).mean(2)
