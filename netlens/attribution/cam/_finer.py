"""Finer-CAM: what distinguishes a class from similar classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution._wrapping import Wrapping
from netlens.attribution.activations import activations_of
from netlens.attribution.cam._base import check_after
from netlens.attribution.cam._grad_cam import GradCAM
from netlens.attribution.method import Method, register
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.heatmaps import Reduction
from netlens.objectives import Objective, Record, logit
from netlens.options import option


@register
@dataclass(frozen=True)
class FinerCAM(Wrapping):
    """The map of a class without what similar classes share with it.

    `method` explains the objective y - alpha * (mean score of the similar classes), and its values are the `values`.
    `comparisons` are the similar classes. None takes the `n_similar` classes whose scores are closest to that of the
    target in each sample, or all others if there are fewer. With an `alpha` of 0, the map is that of the method alone.
    pytorch-grad-cam differs: it weighs the similar classes by their probabilities, and differentiates these too.

    Zhang et al. 2025, https://arxiv.org/abs/2501.11309
    """

    alpha: float = option(0.6, help="Weight of the similar classes, whose mean score is subtracted.")
    n_similar: int = option(3, least=1, help="How many classes to compare with: those with the closest scores.")
    comparisons: Sequence[int | str] | None = option(None, help="The classes to compare with; none for the closest.")
    method: Method = option(factory=GradCAM, help="The method that explains the difference.")

    @property
    def reduction(self) -> Reduction:  # type: ignore[override]
        return self.method.reduction

    def attribute(
        self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        check_after(flat, objective, self.at(flat, x, wrt))
        targets = objective.targets(flat, len(x))
        if targets is None:
            raise NotApplicable(
                f"Finer-CAM compares a class with similar ones, but {objective} is no class; give logit(...)."
            )
        similar = self._similar(flat, x, objective, targets)
        for classes in similar:
            objective = objective - self.alpha / len(similar) * logit(classes)
        return self.method.attribute(flat, x, objective, wrt)

    def _similar(
        self, flat: FlatModel, x: Tensor, objective: Objective, targets: Sequence[int]
    ) -> Sequence[int | str | list[int]]:
        """The classes to compare with. Each entry is one class for all samples, or a list of one class per sample."""
        if self.comparisons is not None:
            if len(self.comparisons) == 0:
                raise NetLensError("comparisons names no class; give at least one, or None for the most similar ones.")
            compared = {index for name in self.comparisons for index in logit(name).targets(flat, 1) or ()}
            shared = compared & set(targets)
            if shared:
                raise NetLensError(f"class {min(shared)} is the target; comparisons must be other classes.")
            return self.comparisons
        logits = Record(flat, activations_of(flat, x, flat.keys_of(objective.layers))).logits
        scores = logits.flatten(2).mean(2) if logits.ndim > 2 else logits
        target = torch.tensor(targets, device=scores.device)[:, None]
        distances = (scores - scores.gather(1, target)).abs().scatter(1, target, torch.inf)
        count = min(self.n_similar, scores.shape[1] - 1)
        return distances.argsort(stable=True, dim=1)[:, :count].T.tolist()
