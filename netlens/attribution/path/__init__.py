"""Methods that gather gradients along paths from a baseline to the input."""

from netlens.attribution.path.integrated import IntegratedGradients

__all__ = ["IntegratedGradients"]
