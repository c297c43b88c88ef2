"""Sets of rules that define DeepLIFT, LRP, guided backprop and deconvnet."""

from netlens.rules import relevance
from netlens.rules._guided import DECONVNET, GUIDED
from netlens.rules.composites import (
    COMPOSITES,
    Composite,
    Epsilon,
    EpsilonAlpha2Beta1,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
)
from netlens.rules.redirected import REDIRECTED

__all__ = [
    "COMPOSITES",
    "DECONVNET",
    "GUIDED",
    "REDIRECTED",
    "Composite",
    "Epsilon",
    "EpsilonAlpha2Beta1",
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "relevance",
]
