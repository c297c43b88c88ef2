"""The DETR family of transformers: a fixed number of queries, each with scores of classes and one box.

A network of this family returns `logits` (N, queries, classes) and `pred_boxes` (N, queries, 4), each as the center,
width and height in units of the image. Every query is a candidate, so `Detections` follow from the output as it is, and
no step without a gradient lies between.

- DETR, YOLOS and Table Transformer have one class more, "no object", and a softmax over all of them.
- The others score each class by itself, by a sigmoid.

The adapter of transformers adds the classes and the preprocessing.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import box_convert

from netlens.flat.adapter import Adapter, Detections, register


def exclusive(logits: Tensor, boxes: Tensor, size: tuple[int, int]) -> Detections:
    """The candidates of a detector whose classes exclude each other. The last class is "no object".

    Args:
        logits: (N, queries, classes + 1), before the softmax.
        boxes: (N, queries, 4), each as (center x, center y, width, height) in units of the image.
        size: The height and width of the image.

    Example:
        >>> import torch
        >>> detections = exclusive(torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[0.5, 0.5, 0.5, 1.0]]]), (10, 20))
        >>> detections.boxes.tolist(), detections.scores.tolist()
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
def with_no_object(network: nn.Module) -> Adapter:
    return Adapter(detections=lambda out, size: exclusive(out["logits"], out["pred_boxes"], size))


@register(*_models("conditional_detr.ConditionalDetrForObjectDetection", "dab_detr.DabDetrForObjectDetection"))
@register(*_models("deformable_detr.DeformableDetrForObjectDetection", "lw_detr.LwDetrForObjectDetection"))
@register(*_models("rt_detr.RTDetrForObjectDetection", "rt_detr_v2.RTDetrV2ForObjectDetection"))
@register(*_models("d_fine.DFineForObjectDetection", "deimv2.Deimv2ForObjectDetection"))
@register(*_models("rf_detr.RfDetrForObjectDetection"))
def with_sigmoid(network: nn.Module) -> Adapter:
    return Adapter(detections=lambda out, size: independent(out["logits"], out["pred_boxes"], size))


def _in_pixels(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, queries, 4): the corners (x0, y0, x1, y1), in pixels of an image of this height and width."""
    height, width = size
    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners * boxes.new_tensor([width, height, width, height])
