"""The heart: any network as flat, pure, named layers, with hooks, rules and surgery.

A person needs what this door offers. Other rooms also read the packages `layers`, `operations`, `running` and
`tracing`, and the files without an underscore.
"""

from netlens.flat import edits, operations
from netlens.flat._hooks import Hooks
from netlens.flat._model import FlatModel
from netlens.flat.adapter import Adapter, Detections, register, rewrite
from netlens.flat.layers import Normalize
from netlens.flat.operations import RECTIFIERS
from netlens.flat.rules import Rule, Rules, vjp

__all__ = [
    "RECTIFIERS",
    "Adapter",
    "Detections",
    "FlatModel",
    "Hooks",
    "Normalize",
    "Rule",
    "Rules",
    "edits",
    "operations",
    "register",
    "rewrite",
    "vjp",
]
