"""The layout of an input follows from the operations that read it, and not from its number of dimensions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.flat import FlatModel
from netlens.flat.layout import Layout, layout_of, rank_of


class OfFunction(nn.Module):
    """A forward that is given as a function of the parts and the input."""

    def __init__(self, forward, **parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.function = nn.ModuleDict(parts), forward

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(self.parts, x)
        return result


def _frames(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    state = x.new_zeros(x.shape[0], 4)
    for t in range(x.shape[1]):
        state = parts["cell"](parts["conv"](x[:, t]).mean((2, 3)), state)
    return state


def _folded(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    n, t = x.shape[:2]
    return parts["conv"](x.reshape(n * t, *x.shape[2:])).mean((2, 3)).view(n, t, -1).mean(1)


def _patches(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    n = x.shape[0]
    return parts["linear"](x.reshape(n, 3, 4, 4, 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(n, 16, 48)).mean(1)


def _padded(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    return parts["conv"](F.pad(F.interpolate((x - 0.5) / x.norm(), size=(20, 20)), (1, 2, 1, 2))).mean((2, 3))


def _states(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    state = x.new_zeros(x.shape[0], 4)
    for t in range(x.shape[1]):
        state = parts["cell"](x[:, t], state)
    return state


conv, cell = nn.Conv2d(3, 4, 3), nn.GRUCell(4, 4)
CASES = {
    "signal": (nn.Sequential(nn.Conv1d(1, 4, 3)), (1, 50), Layout((2,), 1)),
    "signal, time first": (
        OfFunction(lambda parts, x: parts["c"](x.transpose(1, 2)), c=nn.Conv1d(4, 5, 3)),
        (9, 4),
        Layout((1,), 2),
    ),
    "signal without channels": (
        OfFunction(lambda parts, x: parts["c"](x[:, None]), c=nn.Conv1d(1, 5, 3)),
        (9,),
        Layout((1,)),
    ),
    "pooled signal": (nn.Sequential(nn.AvgPool1d(2), nn.Flatten(), nn.Linear(20, 2)), (2, 20), Layout((2,), 1)),
    "sequence": (
        OfFunction(lambda parts, x: parts["r"](x)[0][:, -1], r=nn.LSTM(4, 5, batch_first=True)),
        (9, 4),
        Layout((1,), 2, 1),
    ),
    "sequence of states": (OfFunction(_states, cell=nn.GRUCell(3, 4)), (6, 3), Layout((1,), 2, 1)),
    "vector": (nn.Sequential(nn.Linear(48, 3)), (48,), Layout((1,))),
    "image": (nn.Sequential(conv), (3, 12, 12), Layout((2, 3), 1)),
    "gray image": (nn.Sequential(nn.Conv2d(1, 4, 3)), (1, 12, 12), Layout((2, 3), 1)),
    "image, channels last": (
        OfFunction(lambda parts, x: parts["c"](x.permute(0, 3, 1, 2)), c=conv),
        (9, 8, 3),
        Layout((1, 2), 3),
    ),
    "padded image": (OfFunction(_padded, conv=conv), (3, 16, 16), Layout((2, 3), 1)),
    "image in patches": (OfFunction(_patches, linear=nn.Linear(48, 3)), (3, 16, 16), Layout((2, 3), 1)),
    "flattened image": (nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), (3, 4, 4), Layout((2, 3), 1)),
    "volume": (nn.Sequential(nn.Conv3d(1, 4, 3)), (1, 6, 7, 8), Layout((2, 3, 4), 1)),
    "volume, depth first": (
        OfFunction(lambda parts, x: parts["c"](x.permute(0, 2, 1, 3, 4)), c=nn.Conv3d(3, 4, 3)),
        (5, 3, 8, 9),
        Layout((1, 3, 4), 2),
    ),
    "clip, frame by frame": (OfFunction(_frames, conv=conv, cell=cell), (4, 3, 8, 9), Layout((1, 3, 4), 2, 1)),
    "clip of one frame": (OfFunction(_frames, conv=conv, cell=cell), (1, 3, 8, 9), Layout((1, 3, 4), 2, 1)),
    "clip, folded": (OfFunction(_folded, conv=conv), (4, 3, 8, 9), Layout((1, 3, 4), 2, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_layout_follows_from_the_operations_that_read_the_input(case):
    network, shape, expected = CASES[case]
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    flat = FlatModel.from_nn_Module(network.eval(), example=x)
    assert layout_of(flat, {flat.inputs[0]: x}) == expected


@pytest.mark.parametrize(
    "network, rank",
    [
        (nn.Sequential(nn.ReLU(), nn.Conv1d(1, 4, 3)), 1),
        (nn.Sequential(nn.MaxPool2d(2), nn.Flatten()), 2),
        (nn.Sequential(nn.MaxPool2d(2), nn.Conv3d(1, 4, 3)), 3),
        (nn.Sequential(nn.Linear(3, 4)), None),
    ],
)
def test_the_first_convolution_says_the_number_of_dimensions(network, rank):
    assert rank_of(FlatModel.from_nn_Module(network)) == rank


def test_inputs_of_one_network_have_layouts_of_their_own():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)

        def forward(self, image: Tensor, numbers: Tensor) -> Tensor:
            return self.conv(image).mean((2, 3)) + self.linear(numbers)

    flat = FlatModel.from_nn_Module(Two())
    feeds = {"image": torch.rand(1, 3, 8, 8), "numbers": torch.rand(1, 5)}
    assert layout_of(flat, feeds) == Layout((2, 3), 1)
    assert layout_of(flat, feeds, "numbers") == Layout((1,))
