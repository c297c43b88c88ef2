"""Objectives about another picture: content, caricature, activation grid and style, on maps, tokens and vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close
from torchvision.models import SwinTransformer, VisionTransformer

from netlens.errors import ImageError, LayerNotFound, NetLensError, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.objectives import (
    Contextual,
    Gram,
    Histogram,
    MeanStd,
    Record,
    SlicedWasserstein,
    activation_grid,
    caricature,
    channel,
    content,
    direction,
    diversity,
    style,
)
from netlens.preprocessing import IMAGENET, Preprocessing


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, OTHER = random(3, 3, 12, 14), random(1, 3, 12, 14, seed=1)
MANY = random(3, 3, 12, 14, seed=2)
STATISTICS = [Gram(), MeanStd(), SlicedWasserstein(), Histogram(), Contextual()]
MAKERS = {
    "content": lambda image: content(["1", "4"], image),
    "content of a part": lambda image: content("4", image, mask=np.eye(14)),
    "content in its own units": lambda image: content("1", image, normalized=False),
    "content of the picture itself": lambda image: content("input", image),
    "caricature": lambda image: caricature(["3", "2"], image),
    **{f"style by {one}": lambda image, one=one: style(["1", "4"], image, one) for one in STATISTICS},
    "style in its own units": lambda image: style("1", image, normalized=True),
    "style of a part": lambda image: style("1", image, mask=np.eye(6), image_mask=np.tri(9)),
}
each_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


# by hand


def test_content_by_hand(value):
    x, other = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    x[0, :, 0, 0], x[0, :, 0, 1] = torch.tensor([1.0, 2]), torch.tensor([0.0, 5])
    other[0, :, 0, 0], other[0, :, 0, 1] = torch.tensor([1.0, 4]), torch.tensor([1.0, 2])
    x, other = x.double(), other.double()
    assert value(content("0", other), x).item() == pytest.approx((4 + 1 + 9) / (1 + 16 + 1 + 4))
    assert value(content("0", other, normalized=False), x).item() == pytest.approx(14 / 4)
    mask = [[1.0, 0.5]]
    assert value(content("0", other, mask=mask), x).item() == pytest.approx((4 + 5) / (17 + 2.5))
    assert value(content("0", other, mask=mask, normalized=False), x).item() == pytest.approx(9 / (2 * 1.5))


def test_caricature_by_hand(value):
    x = torch.tensor([[[[3.0, 0]], [[0, 4]]]], dtype=torch.float64)
    other = torch.tensor([[[[1.0, 0]], [[0, 0]]]], dtype=torch.float64)
    assert value(caricature("0", other, cosine_power=0), x).item() == pytest.approx(3 / 2)
    assert value(caricature("0", other, cosine_power=2), x).item() == pytest.approx(3 / 2 * 0.6**2)
    assert value(caricature("0", -other), x).item() == pytest.approx(-3 / 2 * 0.1)


def test_style_is_the_statistic_of_the_layer(conv, value):
    mine, theirs = (conv(x, until="1").flatten(2) for x in (X, OTHER))
    grams = [f @ f.transpose(1, 2) / f[0].numel() for f in (mine, theirs)]
    expected = (grams[0] - grams[1]).square().sum((1, 2))
    assert_close(value(style("1", OTHER), X, conv), expected)
    unit = theirs.square().mean()
    assert_close(value(style("1", OTHER, normalized=True), X, conv), expected / unit**2)
    for statistic in STATISTICS:
        both = [statistic.distance(statistic.of(mine, None), statistic.of(theirs, None))]
        assert_close(value(style("1", OTHER, statistic), X, conv), both[0])


def test_several_layers_count_the_same(conv, value):
    for make in (content, style, caricature):
        expected = (value(make("1", OTHER), X, conv) + value(make("4", OTHER), X, conv)) / 2
        assert_close(value(make(["1", "4"], OTHER), X, conv), expected)


def test_an_activation_grid_has_a_direction_for_each_position(conv, value):
    maps = conv(OTHER, until="4")  # 4 x 5
    x = random(20, 3, 12, 14)
    vectors = maps[0].permute(1, 2, 0).flatten(0, 1)
    for power in (0, 2):
        expected = value(direction("4", vectors, cosine_power=power), x, conv)
        assert_close(value(activation_grid("4", OTHER, cosine_power=power), x, conv), expected)
        named = activation_grid("4", OTHER, positions=[(3, 4), (0, 1)], cosine_power=power).settled(conv, x[:2])
        assert_close(value(named, x[[19, 1]], conv), expected[[19, 1]])
        grid = activation_grid("4", OTHER, cosine_power=power)
        for cut in (grid.settled(conv, x).take([5, 2]), grid.take([5, 2]), grid.take([2, 3, 5]).take([2, 0])):
            assert_close(value(cut, x[[5, 2]], conv), expected[[5, 2]])


# laws


@each_maker
def test_settled_once_it_is_the_same_and_reads_the_picture_no_more(conv, value, make):
    other = OTHER.clone()
    objective = make(other)
    settled = objective.settled(conv, X)
    assert settled.settled(conv, X) is settled
    expected = value(objective, X, conv)
    assert_close(value(settled, X, conv), expected)
    both = (settled - channel("1", 0)).settled(conv, X)
    other.fill_(torch.nan)
    assert_close(value(both, X, conv), expected - value(channel("1", 0), X, conv))


@each_maker
def test_a_batch_is_its_samples(conv, value, make):
    shared = make(OTHER).settled(conv, X)
    each = torch.cat([value(make(OTHER), x[None], conv) for x in X])
    assert_close(value(shared, X, conv), each, rtol=1e-9, atol=0)
    assert_close(value(shared.take([2, 0]), X[[2, 0]], conv), each[[2, 0]], rtol=1e-9, atol=0)
    per_sample = make(MANY)
    each = torch.cat([value(make(other[None]), x[None], conv) for x, other in zip(X, MANY, strict=True)])
    assert len(each.unique()) == 3
    for objective in (per_sample, per_sample.settled(conv, X)):
        assert_close(value(objective, X, conv), each, rtol=1e-9, atol=0)
        selection = objective.take([2, 0, 2])
        assert_close(value(selection, X[[2, 0, 2]], conv), each[[2, 0, 2]], rtol=1e-9, atol=0)
        assert_close(value(selection.take([1]).settled(conv, X), X[:1], conv), each[:1], rtol=1e-9, atol=0)


@each_maker
def test_gradients(conv, value, make):
    objective = make(OTHER).settled(conv, X)
    assert gradcheck(lambda x: value(objective, x, conv), X[:1].clone().requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("statistic", STATISTICS, ids=repr)
def test_gradients_of_a_single_sample_through_batch_norm(value, statistic):
    # where a gradient that comes transposed in memory is read as if it did not
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight, 0.5, 2)
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 4, 3), norm).double())
    for objective in (style("1", OTHER, statistic).settled(flat, X[:1]), -diversity("1") + content("1", OTHER)):
        assert gradcheck(lambda x, o=objective: value(o, x, flat), X[:1].clone().requires_grad_(), fast_mode=True)


@each_maker
def test_a_picture_of_another_size(conv, value, make):
    other = random(1, 3, 17, 10, seed=3)
    settled = make(other).settled(conv, X)
    whole = value(settled, X, conv)
    assert whole.shape == (3,) and whole.isfinite().all()
    # and when the pictures grow later
    larger = F.interpolate(X, (18, 21))
    assert value(settled, larger, conv).isfinite().all()


def test_content_is_compared_at_the_size_of_the_picture_that_changes(conv, value):
    other = random(1, 3, 24, 28, seed=3)
    small = F.interpolate(other, (12, 14), mode="bilinear", antialias=True)
    for make in (content, caricature):
        assert_close(value(make("4", other).settled(conv, X), X, conv), value(make("4", small), X, conv))
    assert value(content("4", other).settled(conv, X), small, conv).item() == pytest.approx(0, abs=1e-25)
    # read at twice the size, the maps that were kept are resized
    maps = F.interpolate(conv(small, until="2"), (12, 14), mode="bilinear", antialias=True)
    large = random(1, 3, 24, 28, seed=4)
    expected = (conv(large, until="2") - maps).square().sum() / maps.square().sum()
    assert_close(value(content("2", other).settled(conv, X), large, conv), expected[None])


@pytest.mark.parametrize("statistic", STATISTICS[:4], ids=repr)
def test_style_has_no_size(statistic):
    # every feature four times over
    flat = FlatModel.from_nn_Module(nn.Identity(), adapter=Adapter(preprocessing=Preprocessing(None, None, (0,), (1,))))
    double = OTHER.repeat_interleave(2, 2).repeat_interleave(2, 3)
    one, four = (style("input", image, statistic).settled(flat, X) for image in (OTHER, double))
    record = Record(flat, flat.record(X, layers=["input"]))
    assert_close(one(record), four(record))


def test_a_mask_keeps_to_its_part(conv, value):
    left = np.zeros((24, 28))
    left[:, :14] = 1
    elsewhere = X.clone()
    elsewhere[..., 9:] = 7  # one pixel beyond what the left half of the map sees
    for make in (
        lambda: content("1", OTHER, mask=left),
        lambda: style("1", OTHER, mask=left),
        lambda: style("1", OTHER, SlicedWasserstein(), mask=left, normalized=True),
        lambda: style("1", OTHER, Contextual(), mask=left),
    ):
        objective = make().settled(conv, X)
        assert_close(value(objective, elsewhere, conv), value(objective, X, conv))
        (gradient,) = torch.autograd.grad(value(objective, x := X.clone().requires_grad_(), conv).sum(), x)
        assert gradient[..., 8:].abs().max() == 0 and gradient[..., :7].abs().max() > 0


def test_a_mask_of_the_styles_picture_keeps_to_its_part(conv, value):
    top = torch.zeros(12, 14, dtype=torch.bool)
    top[:6] = True
    other = OTHER.clone()
    other[:, :, 8:] = 7
    for statistic in STATISTICS:
        for normalized in (False, True):
            one, same = (style("1", o, statistic, image_mask=top, normalized=normalized) for o in (OTHER, other))
            assert_close(value(one, X, conv), value(same, X, conv))
    with pytest.raises(AssertionError):
        assert_close(value(style("1", OTHER), X, conv), value(style("1", other), X, conv))


def test_a_mask_is_averaged_over_the_area_of_a_position(conv, value):
    fine = random(12, 14).abs()
    coarse = F.avg_pool2d(fine[None], 2)[0]
    assert_close(value(style("2", OTHER, mask=fine), X, conv), value(style("2", OTHER, mask=coarse), X, conv))
    ones = value(style("2", OTHER, mask=np.full((3, 3), 0.2)), X, conv)
    assert_close(ones, value(style("2", OTHER), X, conv))


# pictures as people have them


def test_a_picture_is_preprocessed_and_a_float_tensor_is_not(conv, value):
    model = conv.knowing(adapter=Adapter(preprocessing=Preprocessing((12, 14), (12, 14), IMAGENET.mean, IMAGENET.std)))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    ready = model.adapter.preprocessing(pixels)
    for make in (content, style, caricature):
        expected = value(make("1", ready), X, model)
        for image in (pixels, Image.fromarray(pixels), ready.double(), ready[0], [pixels]):
            assert_close(value(make("1", image), X, model), expected)
            assert_close(value(make("1", image).settled(model, X), X, model), expected)


def test_a_gray_network(value):
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(nn.Conv2d(1, 4, 3).double())  # of no known family
    x, other = random(2, 1, 9, 9), random(1, 1, 9, 9, seed=1)
    for make in (content, style, caricature):
        objective = make("output", other)
        assert_close(value(objective.settled(flat, x), x, flat), value(objective, x, flat))
        assert value(objective, x, flat).isfinite().all()


def test_under_inference_mode(conv, value):
    with torch.inference_mode():
        objective = (style("1", OTHER + 0) - caricature("4", OTHER + 0)).settled(conv, X + 0)
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(objective, x, conv).sum(), x)
    assert gradient.abs().max() > 0


# tokens and vectors


def test_tokens_are_maps_without_the_class_token(value):
    torch.manual_seed(0)
    vit = FlatModel.from_nn_Module(VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).double())
    x, other = random(2, 3, 32, 32), random(1, 3, 32, 32, seed=1)
    key = "encoder.layers.encoder_layer_0"
    mine, theirs = vit(x, until=key), vit(other, until=key)
    # content is about all tokens, the class token too
    assert_close(value(content(key, other), x, vit), (mine - theirs).square().sum((1, 2)) / theirs.square().sum())
    grams = [t[:, 1:].transpose(1, 2) @ t[:, 1:] / (16 * 16) for t in (mine, theirs)]
    assert_close(value(style(key, other), x, vit), (grams[0] - grams[1]).square().sum((1, 2)))
    corner = torch.zeros(4, 4)
    corner[1, 2] = 1
    token = 1 + 4 + 2
    expected = (mine - theirs)[:, token].square().sum(1) / theirs[:, token].square().sum()
    assert_close(value(content(key, other, mask=corner), x, vit), expected)
    grid = activation_grid(key, other, positions=[(1, 2), (0, 0)])
    assert_close(value(grid, x, vit), (mine[:, 1:] @ theirs[0, [7, 1], :, None])[..., 0].mean(1))
    # a picture that the network does not take is resized
    settled = content(key, random(1, 3, 40, 50)).settled(vit, x)
    assert value(settled, x, vit).isfinite().all()


def test_maps_with_channels_last_and_what_has_no_place(value):
    torch.manual_seed(0)
    swin = FlatModel.from_nn_Module(SwinTransformer([2, 2], 8, [2, 2], [2, 2], [4, 4], num_classes=5).double())
    x, other = random(2, 3, 32, 40), random(1, 3, 48, 32, seed=1)
    mine, theirs = (swin(image, until="features.1").flatten(1, 2) for image in (x, other))
    grams = [f.transpose(1, 2) @ f / f[0].numel() for f in (mine, theirs)]
    assert_close(value(style("features.1", other), x, swin), (grams[0] - grams[1]).square().sum((1, 2)))
    assert value(content("features.1", other).settled(swin, x), x, swin).isfinite().all()
    with pytest.raises(NotApplicable, match=r"for 1 picture\(s\), which has no row for each"):
        content("features.1.0.attn.softmax", other).settled(swin, x)
    mlp = "features.1.0.norm2"
    assert value(content(mlp, x[:1]), x, swin)[0] < 1e-25


def test_vectors(conv, value):
    mine, theirs = conv(X, until="6"), conv(OTHER, until="6")
    assert_close(value(content("6", OTHER), X, conv), (mine - theirs).square().sum(1) / theirs.square().sum())
    assert_close(value(caricature("6", OTHER, cosine_power=0), X, conv), (mine * theirs).sum(1))
    assert_close(value(style("6", OTHER, Histogram()), X, conv), (mine - theirs).square().mean(1))
    with pytest.raises(NotApplicable, match="features at several positions"):
        value(style("6", OTHER, Contextual()), X, conv)
    for objective in (style("6", OTHER, mask=np.eye(3)), content("6", OTHER, mask=np.eye(3))):
        with pytest.raises(NotApplicable, match="'6' has a single position, so a mask has no effect"):
            value(objective, X, conv)
    table = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(4, 6), nn.Tanh()).double())
    x = random(3, 4)
    assert value(content("1", x[:1]).settled(table, x), x, table)[0] < 1e-25


# mistakes


def test_mistakes(conv, value):
    with pytest.raises(LayerNotFound, match="no layer 'nine'"):
        content("nine", OTHER).settled(conv, X)
    with pytest.raises(NetLensError, match="layers is empty"):
        style([], OTHER)
    with pytest.raises(NetLensError, match=r"content\('1'\) has 2 pictures for 3 samples"):
        value(content("1", MANY[:2]), X, conv)
    with pytest.raises(NetLensError, match=r"activation_grid\('4'\) has 20 positions for 3 samples"):
        value(activation_grid("4", OTHER), X, conv)
    with pytest.raises(NetLensError, match=r"no position \(4, 0\); the map of '4' is 4 by 5"):
        activation_grid("4", OTHER, positions=[(4, 0)]).settled(conv, X)
    with pytest.raises(NetLensError, match="image must be one picture for an activation grid, not 3"):
        activation_grid("4", MANY).settled(conv, X)
    with pytest.raises(NonFiniteError, match="NaN or Inf in sample 0"):
        content("1", OTHER * torch.nan).settled(conv, X)
    with pytest.raises(ImageError, match="expected 3 channels"):
        style("1", OTHER[:, :2]).settled(conv, X)
    with pytest.raises(NotApplicable, match="'input' of sequential is all 0 on the picture"):
        content("input", OTHER * 0).settled(conv, X)
    with pytest.raises(NotApplicable, match="all 0 on the picture"):
        content("input", OTHER * (torch.arange(14) > 6), mask=np.eye(2)[[0]]).settled(conv, X)
    with pytest.raises(NotApplicable, match="all 0 on the picture"):
        style("input", OTHER * 0, normalized=True).settled(conv, X)
    with pytest.raises(TypeError, match="two objectives cannot be multiplied"):
        content("1", OTHER) * style("1", OTHER)


@pytest.mark.parametrize(
    "mask", [np.zeros((3, 3)), -np.eye(3), np.full((3, 3), np.nan), np.ones(3), np.ones((1, 1, 3, 3))]
)
def test_what_is_no_mask(conv, value, mask):
    for objective in (content("1", OTHER, mask=mask), style("1", OTHER, mask=mask), style("1", OTHER, image_mask=mask)):
        with pytest.raises(NetLensError, match="a mask "):
            value(objective, X, conv)


def test_a_layer_that_overflows_is_named():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()).double())
    with torch.no_grad():
        flat.layers["0"].weight.fill_(1e308)
    with pytest.raises(NonFiniteError, match="layer '1' of sequential holds NaN or Inf on picture 1"):
        content("1", torch.cat([OTHER[:, :, :2, :2] * 0, OTHER[:, :, :2, :2].abs() * 1e9])).settled(flat, X)


def test_names():
    assert repr(content(["a", "b"], OTHER) + 2 * style("c", OTHER, MeanStd())) == (
        "content('a', 'b') + 2 * style('c', MeanStd())"
    )
    assert repr(caricature("a", OTHER)) == "caricature('a', cosine_power=1)"
    assert repr(activation_grid("a", OTHER, cosine_power=2)) == "activation_grid('a', cosine_power=2)"
