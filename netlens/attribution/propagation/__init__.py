"""Methods that propagate backwards by rules of their own, layer by layer: DeepLIFT, LRP and excitation backprop."""

from netlens.attribution.propagation.deep_lift import DeepLift, DeepLiftShap
from netlens.attribution.propagation.excitation import ExcitationBackprop
from netlens.attribution.propagation.lrp import LRP

__all__ = ["LRP", "DeepLift", "DeepLiftShap", "ExcitationBackprop"]
