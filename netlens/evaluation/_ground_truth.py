"""The ground-truth score: the share of an explanation that lies on the object that caused the label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens import heatmaps
from netlens.attribution import Attribution, Method
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import logit
from netlens.options import checked


def share_inside(attribution: Attribution, masks: Tensor) -> Tensor:
    """(N,): the share of positive attribution inside the masks: Σ inside max(0, v) / Σ max(0, v).

    The sums are over channels and positions, at the size of the masks. The share is 0 if no attribution is positive.
    The share of a random map is the share of the image that the object covers.

    Args:
        attribution: The attributions of N samples, with a layout over the image.
        masks: (N, H, W), True on the object.

    Raises:
        NetLensError: The numbers of masks and samples differ.
        NotApplicable: The attribution has no layout over the image.

    Example:
        >>> from netlens.results import Provenance
        >>> values = torch.tensor([[[[3.0, 1.0], [-4.0, 0.0]]]])
        >>> attribution = Attribution(values, torch.rand(1, 3, 2, 2), Provenance("Saliency", "resnet50", "logit(207)"))
        >>> share_inside(attribution, torch.tensor([[[True, False], [True, False]]])).tolist()
        [0.75]
    """
    heat = heatmaps.resize(heatmaps.reduce(attribution.spatial, "positive"), (masks.shape[-2], masks.shape[-1]))[:, 0]
    if len(heat) != len(masks):
        raise NetLensError(f"there are {len(masks)} masks for {len(heat)} samples; give one for each.")
    total = heat.flatten(1).sum(1)
    inside = (heat * masks.to(heat)).flatten(1).sum(1)
    return torch.where(total > 0, inside / total, torch.zeros_like(total))


@dataclass(frozen=True)
class Score:
    """The score of a method over several images.

    Args:
        method: The class name of the method.
        mean: The mean of `share_inside`, from 0 to 1.
        error: The standard error of the mean.
        n: The number of images.
    """

    method: str
    mean: float
    error: float
    n: int


def scoreboard(
    flat: FlatModel,
    x: Tensor,
    labels: Sequence[int],
    masks: Tensor,
    methods: Sequence[Method],
    batch: int = 25,
    progress: Callable[[Method], object] = lambda method: None,
) -> list[Score]:
    """The scores of several methods that explain the true labels of images, the best score first.

    Args:
        flat: The network.
        x: (N, C, H, W), the input of the network.
        labels: (N,), the true classes.
        masks: (N, H, W), True on the objects that caused the labels.
        methods: The methods.
        batch: The number of images that a method explains at a time.
        progress: A function that is called with each method before it runs.

    Example:
        >>> from netlens import open_network
        >>> from netlens.attribution import GradCAM, Saliency
        >>> from netlens.world.scene import batch
        >>> flat = open_network()
        >>> pictures, labels, masks = batch(0, 4)
        >>> x = flat.adapter.preprocessing.normalize(pictures / 255)
        >>> scores = scoreboard(flat, x, labels.tolist(), masks, [Saliency(), GradCAM()])
        >>> [(score.method, score.n) for score in scores]
        [('GradCAM', 4), ('Saliency', 4)]
    """
    batch = checked("batch", batch, int, least=1)
    scores = []
    for method in methods:
        progress(method)
        shares = torch.cat(
            [
                share_inside(method(flat, x[i : i + batch], logit(list(labels[i : i + batch]))), masks[i : i + batch])
                for i in range(0, len(x), batch)
            ]
        )
        error = shares.std().item() / len(shares) ** 0.5
        scores.append(Score(type(method).__name__, shares.mean().item(), error, len(shares)))
    return sorted(scores, key=lambda score: -score.mean)
