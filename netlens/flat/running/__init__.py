"""Running: the steps of a network, and a run of those that are needed.

`Program.run` is the only executor. A tap sees or replaces values while a program runs, in its own thread.
"""

from netlens.flat.running._guard import guarded, is_misread
from netlens.flat.running._modes import differentiating
from netlens.flat.running._program import Program
from netlens.flat.running._step import Step, Visit
from netlens.flat.running._taps import Tap, may_change, tapped, tapped_inputs, tapped_visit, untapped

__all__ = [
    "Program",
    "Step",
    "Tap",
    "Visit",
    "differentiating",
    "guarded",
    "is_misread",
    "may_change",
    "tapped",
    "tapped_inputs",
    "tapped_visit",
    "untapped",
]
