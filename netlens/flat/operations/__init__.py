"""Operations: one table of the properties of module types and functions.

A row names module types and functions that are alike, and says what they do to values. Rules, receptive fields,
incremental occlusion and class activation maps ask `operation_of`. One line adds your own operation:

>>> import torch
>>> from torch import nn
>>> class Swoosh(nn.Module):
...     def forward(self, x):
...         return x * torch.sigmoid(1.5 * x)
>>> add(Swoosh, like=nn.SiLU)
>>> operation_of(Swoosh()).curve.name
'UNIT'
"""

from netlens.flat.operations._questions import (
    RECTIFIERS,
    add,
    exact_operation_of,
    has_known_forward,
    innermost,
    is_added,
    is_foreign,
    is_kind,
    is_linear,
    is_ours,
    is_product,
    is_view,
    name_of,
    operation_of,
    types_with,
)
from netlens.flat.operations._table import UNKNOWN
from netlens.flat.operations._traits import Curve, Operation, Reach, Relevance, Trait

__all__ = [
    "RECTIFIERS",
    "UNKNOWN",
    "Curve",
    "Operation",
    "Reach",
    "Relevance",
    "Trait",
    "add",
    "exact_operation_of",
    "has_known_forward",
    "innermost",
    "is_added",
    "is_foreign",
    "is_kind",
    "is_linear",
    "is_ours",
    "is_product",
    "is_view",
    "name_of",
    "operation_of",
    "types_with",
]
