"""Small networks that end in many ways, with the same layers before their ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.flat import Detections, FlatModel

CLASSES = 5
X = torch.rand(2, 3, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Ends(nn.Module):
    """A convolution and several heads, of which `end` makes the output."""

    def __init__(self, end: Callable[[Ends, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.linear, self.other = nn.Linear(4, CLASSES), nn.Linear(4, 3)
        self.map, self.maps, self.norm = nn.Conv2d(4, 1, 1), nn.Conv2d(4, CLASSES, 1), nn.LayerNorm(4)
        self.end = end

    def forward(self, x: Tensor) -> Any:
        return self.end(self, torch.tanh(self.conv(x)))


def network(end: Callable[[Ends, Tensor], Any]) -> Ends:
    return Ends(end).double().eval()


def flat(end: Callable[[Ends, Tensor], Any]) -> FlatModel:
    return FlatModel.from_nn_Module(network(end))


def scores(net: Ends, y: Tensor) -> Tensor:
    scores: Tensor = net.linear(y.mean((2, 3)))
    return scores


def other(net: Ends, y: Tensor) -> Tensor:
    scores: Tensor = net.other(y.mean((2, 3)))
    return scores


def tokens(net: Ends, y: Tensor) -> Tensor:
    return y.flatten(2).transpose(1, 2)


def last(net: Ends, y: Tensor) -> Tensor:
    """Maps (N, h, w, classes), with the channels last."""
    maps: Tensor = net.linear(y.permute(0, 2, 3, 1))
    return maps


def written_softmax(net: Ends, y: Tensor) -> Tensor:
    y = scores(net, y)
    return y.exp() / y.exp().sum(1, keepdim=True)


def divided(net: Ends, y: Tensor) -> Tensor:
    y = scores(net, y)
    return y / y.norm(dim=-1, keepdim=True)


def divided_by_a_root(net: Ends, y: Tensor) -> Tensor:
    y = scores(net, y)
    return y / y.pow(2).sum(-1, keepdim=True).sqrt()


class Two(NamedTuple):
    age: Tensor
    sex: Tensor


# each computes probabilities of (N, classes) from scores: the end, the scores, and how a probability follows from them
PROBABILITIES: dict[str, tuple[Callable[[Ends, Tensor], Tensor], str]] = {
    "softmax": (lambda net, y: F.softmax(scores(net, y), dim=1), "softmax"),
    "softmax of the last dimension": (lambda net, y: scores(net, y).softmax(-1), "softmax"),
    "softmax that is written out": (written_softmax, "softmax"),
    "softmax, then a view": (lambda net, y: scores(net, y)[..., None].softmax(1).view(y.size(0), -1), "softmax"),
    "softmax, then a flattening": (lambda net, y: scores(net, y)[:, :, None, None].softmax(1).flatten(1), "softmax"),
    "softmax, then a squeeze": (lambda net, y: scores(net, y).softmax(1).squeeze(), "softmax"),
    "sigmoid": (lambda net, y: torch.sigmoid(scores(net, y)), "sigmoid"),
    "sigmoid that is written out": (lambda net, y: 1 / (1 + torch.exp(-scores(net, y))), "sigmoid"),
    "log-softmax": (lambda net, y: F.log_softmax(scores(net, y), dim=-1), "log_softmax"),
    "logarithm of a softmax": (lambda net, y: scores(net, y).softmax(1).log(), "log_softmax"),
}


class QueryDetector(nn.Module):
    """As DETR: each of a few queries attends to the features, and gives scores and a box in units of the image."""

    def __init__(self, queries: int = 6, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
        self.queries = nn.Parameter(torch.randn(queries, 8))
        self.classes, self.boxes = nn.Linear(8, classes + 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.body(x).flatten(2).transpose(1, 2)
        attention = (self.queries @ features.transpose(1, 2)).softmax(-1)
        y = attention @ features
        return {"logits": 4 * self.classes(y), "pred_boxes": self.boxes(y).sigmoid()}


class GridDetector(nn.Module):
    """As YOLO: (N, 4 + 1 + classes, cells), with boxes in pixels, a score for "an object", and scores of classes."""

    def __init__(self, classes: int = 3, stride: int = 8) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stride = stride
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, stride // 2, stride // 2))
        self.head = nn.Conv2d(8, 5 + classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.body(x))
        rows, columns = torch.meshgrid(torch.arange(y.shape[2]), torch.arange(y.shape[3]), indexing="ij")
        cells = torch.stack([columns, rows]).to(y)
        center = (y[:, :2].sigmoid() + cells) * self.stride
        size = y[:, 2:4].exp() * self.stride
        return torch.cat([center, size, y[:, 4:]], 1).flatten(2)


def of_cells(output: Tensor, size: tuple[int, int]) -> Detections:
    """The candidates of a `GridDetector`."""
    rows = output.transpose(1, 2)
    center, sides = rows[..., :2], rows[..., 2:4]
    scores = rows[..., 4:5].sigmoid() * rows[..., 5:].sigmoid()
    return Detections(torch.cat([center - sides / 2, center + sides / 2], -1), rows[..., 5:], scores)
