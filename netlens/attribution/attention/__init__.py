"""Attention: which tokens a transformer looks at, by its attention maps alone or weighted by their gradients."""

from netlens.attribution.attention._legrad import LeGrad
from netlens.attribution.attention._maps import attention_maps
from netlens.attribution.attention._raw import AttentionMap
from netlens.attribution.attention._rollout import AttentionRollout, GradientRollout

__all__ = ["AttentionMap", "AttentionRollout", "GradientRollout", "LeGrad", "attention_maps"]
