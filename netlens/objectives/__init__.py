"""Objectives: what a person wants to know, as one number per sample of a record of activations.

To explain, differentiate or perturb an objective; to visualize, maximize it; to mine a dataset, sort by it.

>>> logit(207) - 0.5 * logit(3)
logit(207) - 0.5 * logit(3)
"""

from netlens.objectives.activations import activation_grid, caricature, content
from netlens.objectives.base import Combination, Objective, Record
from netlens.objectives.batches import alignment, diversity, interpolation
from netlens.objectives.boxes import Box, box
from netlens.objectives.classes import Logit, LogProbability, log_probability, logit
from netlens.objectives.directions import direction, direction_at
from netlens.objectives.guide import guide
from netlens.objectives.images import alpha_norm, blur, boundary, l1, l2, total_variation
from netlens.objectives.layers import Channel, LayerObjective, Neuron, channel, layer, neuron, output
from netlens.objectives.regions import Region, region
from netlens.objectives.statistics import Contextual, Gram, Histogram, MeanStd, SlicedWasserstein, Statistic
from netlens.objectives.style import style

__all__ = [
    "Box",
    "Channel",
    "Combination",
    "Contextual",
    "Gram",
    "Histogram",
    "LayerObjective",
    "LogProbability",
    "Logit",
    "MeanStd",
    "Neuron",
    "Objective",
    "Record",
    "Region",
    "SlicedWasserstein",
    "Statistic",
    "activation_grid",
    "alignment",
    "alpha_norm",
    "blur",
    "boundary",
    "box",
    "caricature",
    "channel",
    "content",
    "direction",
    "direction_at",
    "diversity",
    "guide",
    "interpolation",
    "l1",
    "l2",
    "layer",
    "log_probability",
    "logit",
    "neuron",
    "output",
    "region",
    "style",
    "total_variation",
]
