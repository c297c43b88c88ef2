"""What the tab Look inside says of layers, places and channels, against what runs of the network say."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.flat.keys import block_of
from netlens.playground import Studio
from netlens.playground import _look as look
from netlens.playground._layers import layer_list, rows_of, shapes_of
from netlens.playground._look_pages import Page
from netlens.playground._see import See
from netlens.playground._wiring import incoming, outgoing

KEY = "trunk_output.block2.block2-0.activation"


@pytest.fixture(scope="module")
def lens(studio):
    return studio.lens("scene 1")


@pytest.mark.parametrize("see", [See("a.0"), See("a.0", channel=12), See("a.0", at=(0.25, 1.0))])
def test_what_is_seen_survives_the_address(see):
    assert See.of(str(see)) == see


@pytest.mark.parametrize("text", ["a:x", "a@1", "a@x,y", "a:-1"])
def test_a_text_that_names_nothing_is_refused(text):
    with pytest.raises(NetLensError, match="is no"):
        See.of(text)


def test_the_strongest_channels_have_the_highest_means(lens):
    maps = look.maps_of(lens, KEY)
    means = maps.double().mean((1, 2))
    firings = look.strongest(maps, 5)
    assert [one.channel for one in firings] == means.argsort(descending=True)[:5].tolist()
    assert firings[0].value == pytest.approx(means.max().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("at", "cell"), [((0, 0), (0, 0)), ((1, 1), (15, 15)), ((0.99, 0.0), (0, 15)), ((0.5, 0.51), (8, 8))]
)
def test_a_place_of_the_picture_is_a_position_of_the_maps(at, cell):
    assert look.cell_of(torch.zeros(3, 16, 16), at) == cell


@pytest.mark.parametrize("cell", [(0, 0), (7, 9), (15, 3)])
@pytest.mark.parametrize("key", ["stem.2", "trunk_output.block1.block1-0.activation", KEY])
def test_pixels_outside_of_what_a_position_sees_do_not_change_it(lens, key, cell):
    flat = lens.flat
    x = lens.x[:1]
    values = flat(x, until=key)
    left, top, right, bottom = look.receptive_box(lens, key, cell, tuple(values.shape[2:]))
    other = torch.randn_like(x)
    other[:, :, top:bottom, left:right] = x[:, :, top:bottom, left:right]
    changed = flat(other, until=key)
    torch.testing.assert_close(changed[0, :, cell[0], cell[1]], values[0, :, cell[0], cell[1]])
    assert not torch.allclose(changed, values)


def test_what_channels_say_is_value_times_gradient(lens):
    flat, cell = lens.flat, (5, 6)
    value = flat(lens.x[:1], until=KEY).detach().double().requires_grad_()
    logit = copy.deepcopy(flat).double().resume({KEY: value})[0, lens.targets[0]]
    (gradient,) = torch.autograd.grad(logit, value)
    shares = (value * gradient).detach()[0, :, cell[0], cell[1]]
    channels = look.spoken(lens, KEY, cell, 6)
    assert [one.channel for one in channels] == shares.abs().argsort(descending=True)[:6].tolist()
    torch.testing.assert_close(
        torch.tensor([one.value for one in channels]).double(),
        shares[[one.channel for one in channels]],
        rtol=1e-3,
        atol=1e-6,
    )


class Residual(nn.Module):
    """Pointwise convolutions with norms and a shortcut, where a weight between channels is a derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, groups=2)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        y = self.norm(self.a(x))
        z = self.b(y) + y
        return self.head(z.mean((2, 3)))


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    network = Residual().double().eval()
    nn.init.uniform_(network.norm.running_var, 0.5, 2)
    nn.init.uniform_(network.norm.weight, -1, 1)
    flat = FlatModel.from_nn_Module(network)
    x = torch.randn(1, 3, 1, 1, dtype=torch.float64)
    shapes = {key: tuple(value.shape) for key, value in flat.record(x, layers=list(flat.layers)).items()}
    return flat, x, shapes | {"input": tuple(x.shape)}


def derivative(flat, x, of, channel, source):
    """The derivative of a channel with respect to each channel of another layer."""
    value = x if source == "input" else flat(x, until=source)
    value = value.detach().requires_grad_()
    result = flat(value, until=of) if source == "input" else flat.resume({source: value}, until=of)
    return torch.autograd.grad(result[0, channel].sum(), value)[0].flatten()


def test_incoming_weights_are_derivatives(residual):
    flat, x, shapes = residual
    for channel in range(4):
        wires = {wire.channel: wire.weight for wire in incoming(flat, shapes, "norm", channel)}
        expected = derivative(flat, x, "norm", channel, "input").tolist()
        assert [wires[i] for i in range(3)] == pytest.approx(expected, rel=1e-9)


def test_a_shortcut_leads_to_both_of_its_sources(residual):
    flat, _, shapes = residual
    add = next(key for key in flat.layers if "add" in key)
    assert {wire.layer for wire in incoming(flat, shapes, add, 3)} == {"norm", "input"}
    groups = {wire.channel for wire in incoming(flat, shapes, add, 3) if wire.layer == "norm"}
    assert groups == {2, 3}


def test_outgoing_weights_are_derivatives(residual):
    flat, x, shapes = residual
    wires = outgoing(flat, shapes, "a", 1)
    assert {wire.layer for wire in wires} == {"b", "head"}
    for wire in wires:
        if wire.layer == "b":
            assert wire.weight == pytest.approx(derivative(flat, x, "b", wire.channel, "a")[1].item(), rel=1e-9)
    assert [abs(wire.weight) for wire in wires] == sorted((abs(wire.weight) for wire in wires), reverse=True)


def test_the_list_holds_every_layer_once_under_its_block(studio):
    text = layer_list(studio)
    for key in studio.flat.layers:
        assert text.count(f'data-say="{key}"') == 1
    assert text.count("<details") == len(dict.fromkeys(block_of(key) for key in studio.flat.layers))
    assert {row[0]: row[2] for row in rows_of(studio)}["stem.0"] == "24 × 64 × 64"


def test_what_is_known_of_layers_goes_with_the_studio(studio):
    new_studio = Studio(studio.flat)
    assert rows_of(new_studio) is rows_of(new_studio) and shapes_of(new_studio) is shapes_of(new_studio)
    alive = weakref.ref(new_studio)
    del new_studio
    gc.collect()
    assert alive() is None


def test_a_page_says_why_a_section_is_missing(studio):
    page = Page(studio, "scene 1", None, See("no.such.layer"))
    with pytest.raises(NetLensError, match=r"no layer 'no\.such\.layer'"):
        page.html({})
    with pytest.raises(NetLensError, match="no channel 999; its channels are 0 to 63"):
        Page(studio, "scene 1", None, See(KEY, channel=999)).sections()


@pytest.mark.parametrize("see", [See(KEY), See(KEY, channel=3), See(KEY, at=(0.4, 0.4)), See("head.fc", channel=2)])
def test_every_section_of_a_page_is_made_and_kept(studio, see, monkeypatch):
    monkeypatch.setattr(look, "STEPS", 2)
    key = list(studio.flat.layers)[-1] if see.layer == "head.fc" else see.layer
    page = Page(studio, "scene 2", None, See(key, see.channel, see.at))
    texts = {section.title: page.text_of(section) for section in page.sections()}
    text = page.html(texts)
    assert "computing" not in text
    for section in page.sections():
        assert page.stored_text(section) == texts[section.title]
        assert "<img" in texts[section.title] or "nl-bars" in texts[section.title] or see.layer == "head.fc"
    assert "stopped" in page.html({}, "stopped")
