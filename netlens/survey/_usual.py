"""The questions of a survey if nobody names any, and the layers that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.intake import channels_of, fitted
from netlens.flat.keys import block_of
from netlens.objectives import Record
from netlens.options import checked
from netlens.survey._channels import ChannelStatistics
from netlens.survey._peaks import RandomSample, TopK
from netlens.survey._predictions import Predictions
from netlens.survey._question import Question

_SIDE = 224  # pixels of an input whose size nobody knows
_BINS = 64


def usual_layers(flat: FlatModel, most: int = 4) -> tuple[str, ...]:
    """The last layer of each block of a network that has maps; of many blocks, some at equal distances up to the last.

    The block of a layer is the first two parts of its key, as `layer3.1` of `layer3.1.relu`. A block of a single layer,
    such as a pool before the classifier, does not count.

    Args:
        flat: The network.
        most: The largest number of layers, at least 1.

    Returns:
        The paths of the blocks, each of which names its last layer, or the keys; empty if no layer has maps.

    Example:
        >>> from netlens.zoo import open_network
        >>> usual_layers(open_network(), most=2)
        ('trunk_output.block1', 'trunk_output.block3')
    """
    most = checked("the number of layers", most, int, least=1)
    blocks = [[*keys] for _, keys in groupby(flat.layers, key=block_of)]
    last = [keys[-1] for keys in blocks if len(keys) > 1]
    preprocessing = flat.adapter.preprocessing
    channels = channels_of(flat)
    size = (_SIDE, _SIDE) if preprocessing.size is None else preprocessing.size
    x = torch.zeros(1, len(preprocessing.mean) if channels is None else channels, *size)
    example = fitted(flat, x)
    with torch.no_grad():
        fitting = flat.fitting(example)
        record = Record(fitting, fitting.record(example, layers=last))
    layers = [key for key in last if _has_maps(record, key)]
    count = min(most, len(layers))
    chosen = [layers[-(-len(layers) * (i + 1) // count) - 1] for i in range(count)]
    return tuple(block_of(key) if flat.key(block_of(key)) == key else key for key in chosen)


def usual_questions(flat: FlatModel, layers: Sequence[str] | None = None, k: int = 9) -> list[Question]:
    """`Predictions`; and `TopK`, `RandomSample` and `ChannelStatistics` of some layers.

    Args:
        flat: The network.
        layers: The layers, by any name; None for those of `usual_layers`.
        k: The number of pictures of each channel.

    Raises:
        LayerNotFound: The network has no such layer.

    Example:
        >>> from netlens.zoo import open_network
        >>> [type(question).__name__ for question in usual_questions(open_network(), ["stem"])]
        ['Predictions', 'TopK', 'RandomSample', 'ChannelStatistics']
    """
    chosen = usual_layers(flat) if layers is None else checked("layers", layers, Sequence[str])
    questions: list[Question] = [Predictions()]
    for layer in chosen:
        flat.key(layer)  # a wrong name is refused now
        questions += [TopK(layer, k), RandomSample(layer, k), ChannelStatistics(layer, _BINS)]
    return questions


def _has_maps(record: Record, key: str) -> bool:
    """Whether a layer tells places apart."""
    try:
        maps = record.maps(key)
    except NotApplicable:
        return False
    return maps.ndim == 4 and maps.shape[2] * maps.shape[3] > 1
