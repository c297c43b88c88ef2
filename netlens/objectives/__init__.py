"""Objectives: what a person wants to know about a network, as one number per sample.

A method of attribution differentiates or perturbs an objective, a visualization maximizes it, and a survey of a data
set sorts images by it. Each function below makes one objective. Statistics (`Gram`, ...) are options of `style`. An
objective of your own is a subclass of `PerSample`, or of `Objective` if it looks at the batch as a whole.

Example:
    >>> logit(207) - 0.5 * logit(3)
    logit(207) - 0.5 * logit(3)
"""

from netlens.objectives._activations import activation_grid, caricature, content
from netlens.objectives._base import Objective, PerSample, Record
from netlens.objectives._batches import alignment, diversity, interpolation
from netlens.objectives._boxes import box
from netlens.objectives._directions import direction, direction_at
from netlens.objectives._guide import guide
from netlens.objectives._images import alpha_norm, blur, boundary, l1, l2, total_variation
from netlens.objectives._similarity import similarity
from netlens.objectives._statistics import Contextual, Gram, Histogram, MeanStd, SlicedWasserstein, Statistic
from netlens.objectives._style import style
from netlens.objectives.classes import log_probability, logit, probability
from netlens.objectives.layers import channel, layer, neuron, output
from netlens.objectives.regions import region

__all__ = [
    "Contextual",
    "Gram",
    "Histogram",
    "MeanStd",
    "Objective",
    "PerSample",
    "Record",
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
    "probability",
    "region",
    "similarity",
    "style",
    "total_variation",
]
