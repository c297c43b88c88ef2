"""Detection: detectors as networks that can be unrolled and that return the scores of all candidate boxes.

A detector of torchvision takes a list of images. It returns the boxes that remain after a threshold and non-maximum
suppression. These steps have no gradient, so netlens explains the values before them: `Detections`, with the boxes,
logits and scores of all candidates, for images (N, 3, H, W) in [0, 1] of any size.

- One-stage detectors (RetinaNet, SSD, SSDlite, FCOS) score every anchor: `DenseDetector`.
- Two-stage detectors (Faster, Mask and Keypoint R-CNN) score boxes that they propose for the image: `BoxClassifier`,
  with fixed boxes. `proposals` returns the boxes that a detector proposes; a person may also choose boxes.

`FlatModel.from_nn_Module(detector)` and `NetLens(detector, image)` make these networks. For a two-stage detector, give
the images, too: `FlatModel.from_nn_Module(detector, images=x)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.classes import ClassNames
from netlens.errors import NetLensError
from netlens.flat.adapter import Adapter, Detections, register, rewrite
from netlens.flat.layers import Normalize, Piece
from netlens.flat.twin import twin
from netlens.preprocessing import Preprocessing

# a detector normalizes and resizes images itself
_PREPROCESSING = Preprocessing(size=None, resize=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
_TORCHVISION = "torchvision.models.detection."


class Resize(Piece):
    """Resizes images (N, C, H, W) to the size that the detector uses."""

    linear = True

    def __init__(self, transform: Any) -> None:
        super().__init__()
        self.shorter, self.longer = transform.min_size[-1], transform.max_size
        self.fixed = transform.fixed_size  # (width, height)

    def forward(self, x: Tensor) -> Tensor:
        sides = x.shape[-2:]
        options: dict[str, Any] = {"size": self.fixed and [self.fixed[1], self.fixed[0]]}
        if self.fixed is None:
            options = {"scale_factor": min(self.shorter / min(sides), self.longer / max(sides))}
            options["recompute_scale_factor"] = True
        return F.interpolate(x, mode="bilinear", align_corners=False, **options)


class Pad(Piece):
    """Adds zeros at the right and at the bottom, so that the sides are multiples of all strides of the network."""

    linear = True

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple

    def forward(self, x: Tensor) -> Tensor:
        bottom, right = (math.ceil(side / self.multiple) * self.multiple - side for side in x.shape[-2:])
        return F.pad(x, (0, right, 0, bottom)) if bottom or right else x


class AnchorBoxes(Piece):
    """(N, A, 4): the anchors after the shifts and scales of the network, in pixels of the images."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.anchors, self.coder = source.anchor_generator, source.box_coder

    def forward(self, images: Tensor, resized: Tensor, padded: Tensor, shifts: Tensor, *features: Tensor) -> Tensor:
        from torchvision.models.detection.image_list import ImageList
        from torchvision.ops import clip_boxes_to_image

        size = (resized.shape[-2], resized.shape[-1])
        anchors = torch.cat(self.anchors(ImageList(padded, [size] * len(images)), list(features)))
        decode = getattr(self.coder, "decode_single", self.coder.decode)  # the coder of FCOS has no decode_single
        boxes = decode(shifts.flatten(0, 1), anchors).view(shifts.shape)
        return _scaled(clip_boxes_to_image(boxes, size), resized, images)


class RegionFeatures(Piece):
    """(N * K, C, h, w): the features of each of N images, pooled from fixed boxes (K, 4) in pixels of the images."""

    boxes: Tensor

    def __init__(self, pool: nn.Module, boxes: Tensor) -> None:
        from torchvision.ops import MultiScaleRoIAlign, RoIAlign

        super().__init__()
        self.pool = pool
        self.linear = isinstance(pool, (MultiScaleRoIAlign, RoIAlign))  # they average features at fixed positions
        self.register_buffer("boxes", boxes)

    def forward(self, images: Tensor, resized: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        size = (resized.shape[-2], resized.shape[-1])
        boxes = _scaled(self.boxes.to(images), images, resized)
        pooled: Tensor = self.pool(dict(features), [boxes] * len(images), [size] * len(images))
        return pooled


class RegionBoxes(Piece):
    """(N, K, classes, 4): the fixed boxes after the shifts and scales of the network for each class, in pixels."""

    boxes: Tensor

    def __init__(self, coder: Any, boxes: Tensor) -> None:
        super().__init__()
        self.coder = coder
        self.register_buffer("boxes", boxes)

    def forward(self, images: Tensor, resized: Tensor, shifts: Tensor) -> Tensor:
        from torchvision.ops import clip_boxes_to_image

        size, n = (resized.shape[-2], resized.shape[-1]), len(images)
        boxes = _scaled(self.boxes.to(shifts), images, resized)
        decoded = self.coder.decode(shifts, [boxes] * n)  # (N * K, classes, 4)
        return _scaled(clip_boxes_to_image(decoded.unflatten(0, (n, -1)), size), resized, images)


class PerImage(Piece):
    """Reshapes rows (N * K, ...) to (N, K, ...)."""

    linear = True

    def forward(self, images: Tensor, rows: Tensor) -> Tensor:
        by_image: Tensor = rows.unflatten(0, (len(images), -1))
        return by_image


class DenseDetector(nn.Module):
    """A one-stage detector on shared weights: from images (N, 3, H, W) in [0, 1] to `Detections` of all anchors."""

    backbone: nn.Module
    head: nn.Module

    def __init__(self, source: Any) -> None:
        super().__init__()
        self._modules.update({name: source._modules[name] for name in ("backbone", "head")})
        self.normalize = Normalize(source.transform.image_mean, source.transform.image_std)
        self.resize = Resize(source.transform)
        self.pad = Pad(source.transform.size_divisible)
        self.boxes = AnchorBoxes(source)
        self.exclusive = _is(
            source, "ssd.SSD"
        )  # a softmax over the classes and the background, instead of a sigmoid for each class

    def forward(self, images: Tensor) -> Detections:
        resized = self.resize(self.normalize(images))
        padded = self.pad(resized)
        features = self.backbone(padded)
        features = list(features.values()) if isinstance(features, Mapping) else [features]
        head = self.head(features)
        logits = head["cls_logits"]
        scores = logits.softmax(-1) if self.exclusive else logits.sigmoid()
        if "bbox_ctrness" in head:
            scores = torch.sqrt(scores * head["bbox_ctrness"].sigmoid())
        return Detections(self.boxes(images, resized, padded, head["bbox_regression"], *features), logits, scores)


class BoxClassifier(nn.Module):
    """The second stage of a two-stage detector: from images (N, 3, H, W) in [0, 1] to `Detections`.

    It looks at given boxes. The boxes of the result are these, as the network shifts and scales them for each class.

    Args:
        source: The detector.
        boxes: (K, 4), as (x0, y0, x1, y1) in pixels of the images; the same boxes for each image of a batch.

    Raises:
        NetLensError: `boxes` is not (K, 4), there is no box, or a box is empty.
    """

    backbone: nn.Module
    roi_heads: nn.Module

    def __init__(self, source: Any, boxes: Tensor) -> None:
        super().__init__()
        if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) == 0 or (boxes[:, 2:] <= boxes[:, :2]).any():
            raise NetLensError(
                f"boxes must be (K, 4) as (x0, y0, x1, y1), with K at least 1, not {tuple(boxes.shape)}."
            )
        self._modules.update({name: source._modules[name] for name in ("backbone", "roi_heads")})
        self.normalize = Normalize(source.transform.image_mean, source.transform.image_std)
        self.resize = Resize(source.transform)
        self.pad = Pad(source.transform.size_divisible)
        self.regions = RegionFeatures(source.roi_heads.box_roi_pool, boxes.detach())
        self.logits, self.shifts = PerImage(), RegionBoxes(source.roi_heads.box_coder, boxes.detach())

    def forward(self, images: Tensor) -> Detections:
        resized = self.resize(self.normalize(images))
        features = self.backbone(self.pad(resized))
        features = features if isinstance(features, Mapping) else {"0": features}
        heads: Any = self.roi_heads
        logits, shifts = heads.box_predictor(heads.box_head(self.regions(images, resized, features)))
        logits = self.logits(images, logits)
        return Detections(self.shifts(images, resized, shifts), logits, logits.softmax(-1))


class BoxPredictor(nn.Module):
    """The last layer of a two-stage detector, without torchvision's check of the shape."""

    cls_score: nn.Module
    bbox_pred: nn.Module

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        self._modules.update(source._modules)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.flatten(x, 1)
        return self.cls_score(x), self.bbox_pred(x)


rewrite(_TORCHVISION + "faster_rcnn.FastRCNNPredictor")(BoxPredictor)


@torch.no_grad()
def proposals(detector: nn.Module, images: Tensor) -> Tensor:
    """(K, 4): the boxes in which a two-stage detector finds an object on any of the images, in pixels.

    A proposal counts if its score of a class, except the background, is above the threshold of the detector. If no
    proposal counts, the result is all proposals.

    Args:
        detector: A two-stage detector of torchvision.
        images: (N, 3, H, W) in [0, 1].
    """
    net: Any = twin(detector)
    resized, _ = net.transform(list(images))
    features = net.backbone(resized.tensors)
    features = features if isinstance(features, Mapping) else {"0": features}
    boxes, _ = net.rpn(resized, features)
    heads = net.roi_heads
    logits, _ = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, boxes, resized.image_sizes)))
    is_object = logits.softmax(-1)[:, 1:].amax(1) > heads.score_thresh
    candidates = torch.cat(boxes)
    return _rescaled(
        candidates[is_object] if is_object.any() else candidates, resized.image_sizes[0], tuple(images.shape[-2:])
    )


@register(_TORCHVISION + "retinanet.RetinaNet", _TORCHVISION + "fcos.FCOS", _TORCHVISION + "ssd.SSD")
def one_stage(network: Any) -> Adapter:
    head = network.head.classification_head
    classes = head.num_columns if _is(network, "ssd.SSD") else head.num_classes
    return _adapter(network, classes, 0 if _is(network, "ssd.SSD") else None, _dense)


@register(_TORCHVISION + "generalized_rcnn.GeneralizedRCNN")
def two_stage(network: Any) -> Adapter:
    return _adapter(network, network.roi_heads.box_predictor.cls_score.out_features, 0, _at_proposals)


@register("netlens.adapters.detection.DenseDetector", "netlens.adapters.detection.BoxClassifier")
def unwrapped(network: Any) -> Adapter:
    heads = getattr(network, "roi_heads", None)
    if heads is None:
        head = network.head.classification_head
        count = head.num_columns if network.exclusive else head.num_classes
        return _adapter(network, count, 0 if network.exclusive else None, None)
    return _adapter(network, heads.box_predictor.cls_score.out_features, 0, None)


def coco() -> ClassNames:
    """The 91 classes of COCO, in the order of torchvision's detectors. The first class is the background."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    return ClassNames(FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"])


def _adapter(network: Any, count: int, background: int | None, unwrap: Any) -> Adapter:
    names = ("body", "features")  # the trunk of a feature pyramid, or of SSD; the layers after it give several maps
    trunk = next((f"backbone.{name}" for name in names if hasattr(network.backbone, name)), "backbone")
    # a subclass may have another forward
    is_original = type(network).forward.__module__.startswith(_TORCHVISION)
    classes = coco()
    return Adapter(
        cam_layer=trunk,
        preprocessing=_PREPROCESSING,
        classes=classes if count == len(classes) else None,
        background=background,
        unwrap=unwrap if is_original else None,
    )


def _dense(network: nn.Module, images: Tensor | None) -> nn.Module:
    return DenseDetector(network)


def _at_proposals(network: nn.Module, images: Tensor | None) -> nn.Module:
    if images is None:
        raise NetLensError(
            f"{type(network).__name__} scores boxes that it proposes for an image; give the image: "
            "FlatModel.from_nn_Module(network, images=x), or NetLens(network, x)."
        )
    return BoxClassifier(network, proposals(network, images))


def _is(network: object, name: str) -> bool:
    return any(f"{cls.__module__}.{cls.__qualname__}" == _TORCHVISION + name for cls in type(network).__mro__)


def _scaled(boxes: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Boxes (..., 4) from pixels of the images `source` to pixels of the images `target`."""
    return _rescaled(boxes, tuple(source.shape[-2:]), tuple(target.shape[-2:]))


def _rescaled(boxes: Tensor, source: tuple[int, ...], target: tuple[int, ...]) -> Tensor:
    y, x = (new / old for new, old in zip(target, source, strict=True))
    return boxes * torch.tensor([x, y, x, y], dtype=boxes.dtype, device=boxes.device)
