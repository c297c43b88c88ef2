"""Attention: which tokens a transformer looks at, by its attention maps alone or weighted by their gradients."""

from netlens.attribution.attention.legrad import LeGrad
from netlens.attribution.attention.maps import attention_maps
from netlens.attribution.attention.raw import AttentionMap
from netlens.attribution.attention.rollout import AttentionRollout, GradientRollout

__all__ = ["AttentionMap", "AttentionRollout", "GradientRollout", "LeGrad", "attention_maps"]
