"""Guided backprop and deconvnet: rectifiers that pass only positive gradients."""

from __future__ import annotations

from netlens.flat.operations import RECTIFIERS
from netlens.flat.rules import Rule, Rules, vjp

GUIDED = Rules(
    {RECTIFIERS: Rule(lambda layer, inputs, output, gradient: vjp(output, inputs, gradient.clamp(min=0)))},
    name="guided backprop",
)
"""A rectifier passes only positive gradients, and only where its own derivative passes them.

Springenberg et al. 2014, https://arxiv.org/abs/1412.6806. Smooth rectifiers (GELU, SiLU, Hardswish, ...) keep their own
derivative in place of the mask of ReLU.
"""

DECONVNET = Rules(
    {RECTIFIERS: Rule(lambda layer, inputs, output, gradient: (gradient.clamp(min=0),))},
    name="deconvnet",
)
"""A rectifier passes only positive gradients, whatever its input.

Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901
"""
