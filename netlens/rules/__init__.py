"""Sets of rules: what DeepLIFT, LRP, guided backprop and deconvnet are, and nothing else."""

from netlens.rules.guided import DECONVNET, GUIDED

__all__ = ["DECONVNET", "GUIDED"]
