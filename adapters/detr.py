"""The DETR family of transformers: a fixed number of queries, each with scores of classes and one box.

A network of this family returns `logits` (N, queries, classes) and `pred_boxes` (N, queries, 4), each as the center,
width and height in units of the image. Every query is a candidate, so `Detections` follow from the output as it is, and
no step without a gradient lies between.

- DETR, YOLOS and Table Transformer have one class more, "no object", and a softmax over all of them.
- The others score each class by itself, by a sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchvision.ops import box_convert

from netlens.classes import ClassNames
from netlens.flat.adapter import Adapter, Detections, register
from netlens.preprocessing import IMAGENET, Preprocessing

# the published preprocessing also limits the longer side, to 1333
_SHORTER_SIDE = Preprocessing(size=None, resize=800, mean=IMAGENET.mean, std=IMAGENET.std)
_SQUARE = Preprocessing(size=None, resize=(640, 640), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def exclusive(logits: Tensor, boxes: Tensor, size: tuple[int, int]) -> Detections:
    """The candidates of a detector whose classes exclude each other. The last class is "no object".

    Args:
        logits: (N, queries, classes + 1), before the softmax.
        boxes: (N, queries, 4), each as (center x, center y, width, height) in units of the image.
        size: The height and width of the image.

    Example:
        >>> import torch
        >>> found = exclusive(torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[0.5, 0.5, 0.5, 1.0]]]), (10, 20))
        >>> found.boxes.tolist(), found.scores.tolist()
        ([[[5.0, 0.0, 15.0, 10.0]]], [[[0.5]]])
    """
    return Detections(_in_pixels(boxes, size), logits[..., :-1], logits.softmax(-1)[..., :-1])


def independent(logits: Tensor, boxes: Tensor, size: tuple[int, int]) -> Detections:
    """The candidates of a detector that scores each class by itself.

    Args:
        logits: (N, queries, classes), before the sigmoid.
        boxes: (N, queries, 4), each as (center x, center y, width, height) in units of the image.
        size: The height and width of the image.

    Example:
        >>> import torch
        >>> independent(torch.zeros(1, 1, 2), torch.tensor([[[0.5, 0.5, 0.5, 1.0]]]), (10, 20)).scores.tolist()
        [[[0.5, 0.5]]]
    """
    return Detections(_in_pixels(boxes, size), logits, logits.sigmoid())


def _models(*names: str) -> tuple[str, ...]:
    return tuple(f"transformers.models.{name.split('.')[0]}.modeling_{name}" for name in names)


@register(*_models("detr.DetrForObjectDetection", "table_transformer.TableTransformerForObjectDetection"))
@register(*_models("yolos.YolosForObjectDetection"))
def with_no_object(network: Any) -> Adapter:
    return _adapter(network, exclusive, _SHORTER_SIDE)


@register(*_models("conditional_detr.ConditionalDetrForObjectDetection", "dab_detr.DabDetrForObjectDetection"))
@register(*_models("deformable_detr.DeformableDetrForObjectDetection", "lw_detr.LwDetrForObjectDetection"))
@register(*_models("rf_detr.RfDetrForObjectDetection"))
def with_sigmoid(network: Any) -> Adapter:
    return _adapter(network, independent, _SHORTER_SIDE)


@register(*_models("rt_detr.RTDetrForObjectDetection", "rt_detr_v2.RTDetrV2ForObjectDetection"))
@register(*_models("d_fine.DFineForObjectDetection", "deimv2.Deimv2ForObjectDetection"))
def in_real_time(network: Any) -> Adapter:
    return _adapter(network, independent, _SQUARE)


def _adapter(network: Any, candidates: Callable[..., Detections], preprocessing: Preprocessing) -> Adapter:
    names = getattr(network.config, "id2label", None) or {}
    return Adapter(
        preprocessing=preprocessing,
        detections=lambda out, size: candidates(out["logits"], out["pred_boxes"], size),
        classes=ClassNames([str(names[i]) for i in sorted(names)]) if names else None,
    )


def _in_pixels(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, queries, 4): the corners (x0, y0, x1, y1), in pixels of an image of this height and width."""
    height, width = size
    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners * boxes.new_tensor([width, height, width, height])
