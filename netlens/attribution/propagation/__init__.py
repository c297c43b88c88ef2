"""Methods that propagate backwards by rules of their own, layer by layer: DeepLIFT, LRP and excitation backprop."""

from netlens.attribution.propagation._deep_lift import DeepLift, DeepLiftShap
from netlens.attribution.propagation._excitation import ExcitationBackprop
from netlens.attribution.propagation._lrp import LRP

__all__ = ["LRP", "DeepLift", "DeepLiftShap", "ExcitationBackprop"]
