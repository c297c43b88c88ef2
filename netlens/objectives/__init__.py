"""Objectives: what a person wants to know, as one number per sample of a record of activations.

To explain, differentiate or perturb an objective; to visualise, maximise it; to mine a dataset, sort by it.

>>> logit(207) - 0.5 * logit(3)
logit(207) - 0.5 * logit(3)
"""

from netlens.objectives.base import Combination, Objective, Record
from netlens.objectives.boxes import Box, box
from netlens.objectives.classes import Logit, logit
from netlens.objectives.layers import LayerObjective, channel, direction, layer, neuron, output
from netlens.objectives.regions import Region, region

__all__ = [
    "Box",
    "Combination",
    "LayerObjective",
    "Logit",
    "Objective",
    "Record",
    "Region",
    "box",
    "channel",
    "direction",
    "layer",
    "logit",
    "neuron",
    "output",
    "region",
]
