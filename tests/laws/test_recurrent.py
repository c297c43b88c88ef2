"""Rules of recurrent layers reach every gate of every step: DeepLIFT is complete, and no relevance is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from netlens.attribution import LRP, DeepLift, ExcitationBackprop
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit
from netlens.rules import COMPOSITES, Epsilon
from netlens.rules.pieces import MOST_NETWORKS, pieces_of

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "tanh": lambda: nn.RNN(5, 6, batch_first=True),
    "relu": lambda: nn.RNN(5, 6, 2, nonlinearity="relu", bidirectional=True, batch_first=True),
    "gru": lambda: nn.GRU(5, 6, batch_first=True),
    "gru of two layers": lambda: nn.GRU(5, 6, 2, dropout=0.5, batch_first=True),
    "gru of two ways": lambda: nn.GRU(5, 6, 2, bias=False, bidirectional=True, batch_first=True),
    "lstm": lambda: nn.LSTM(5, 6, batch_first=True),
    "lstm of two layers": lambda: nn.LSTM(5, 6, 2, bias=False, dropout=0.5, batch_first=True),
    "lstm of two ways": lambda: nn.LSTM(5, 6, 2, bidirectional=True, batch_first=True),
    "lstm of projections": lambda: nn.LSTM(5, 6, 2, proj_size=4, bidirectional=True, batch_first=True),
}
CELLS: dict[str, Callable[[], nn.Module]] = {
    "rnn cell": lambda: nn.RNNCell(5, 6, nonlinearity="relu"),
    "gru cell": lambda: nn.GRUCell(5, 6),
    "lstm cell": lambda: nn.LSTMCell(5, 6, bias=False),
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def randomized(module: nn.Module, biases: bool = True) -> nn.Module:
    """The module in float64, with weights of a scale that saturates some gates."""
    module = module.double().eval()
    with torch.no_grad():
        for i, (name, weight) in enumerate(module.named_parameters()):
            weight.copy_(drawn(*weight.shape, seed=i) * 0.7 * (biases or "bias" not in name))
    return module


class Read(nn.Module):
    """A recurrent layer of which a head reads the output, the last step, or the states."""

    def __init__(self, layer: Any, what: str) -> None:
        super().__init__()
        self.layer, self.what, self.long = layer, what, isinstance(layer, nn.LSTM)
        ways = 2 if layer.bidirectional else 1
        size = (layer.proj_size or 6) * ways
        states = layer.num_layers * ways
        self.head = nn.Linear(
            {"output": 7 * size, "last": size, "hidden": size * layer.num_layers, "cell": 6 * states}[what], 3
        )

    def forward(self, x: Tensor) -> Tensor:
        output, state = self.layer(x)
        if self.what == "output":
            return self.head(output.flatten(1))
        if self.what == "last":
            return self.head(output[:, -1])
        if self.long:
            state = state[0] if self.what == "hidden" else state[1]
        return self.head(state.transpose(0, 1).flatten(1))


class Loop(nn.Module):
    """A cell called for each step."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell, self.head, self.long = cell, nn.Linear(6, 3), isinstance(cell, nn.LSTMCell)

    def forward(self, x: Tensor) -> Tensor:
        state = self.cell(x[:, 0])
        for place in range(1, 4):
            state = self.cell(x[:, place], state)
        return self.head(state[0] if self.long else state)


def networks(biases: bool = True) -> dict[str, nn.Module]:
    models: dict[str, nn.Module] = {
        f"{name}, {what}": Read(make(), what)
        for name, make in LAYERS.items()
        for what in ("output", "last", "hidden", "cell")
        if what != "cell" or "lstm" in name
    }
    models |= {name: Loop(make()) for name, make in CELLS.items()}
    return {name: randomized(network, biases) for name, network in models.items()}


WITH_BIASES, WITHOUT = networks(), networks(biases=False)
X = drawn(2, 7, 5, seed=99)


# DeepLIFT


@pytest.mark.parametrize("name", WITH_BIASES)
def test_multipliers_are_complete(name: str) -> None:
    network = WITH_BIASES[name]
    flat, baseline = FlatModel.from_nn_Module(network), drawn(2, 7, 5, seed=98)
    attribution = DeepLift(baselines=baseline)(flat, X, logit(1))
    with torch.no_grad():
        change = (network(X) - network(baseline))[:, 1]
        assert_close(flat(X), network(X), rtol=1e-14, atol=1e-14)  # the layer is still the layer
    assert_close(attribution.values.flatten(1).sum(1), change, rtol=0, atol=1e-10)
    assert attribution.diagnostics["completeness_gap"].abs().max() < 1e-10


class Gru(nn.Module):
    """A GRU as its documentation writes it."""

    def __init__(self, source: nn.GRU) -> None:
        super().__init__()
        self.input, self.hidden = nn.Linear(5, 18), nn.Linear(6, 18)
        self.input.weight, self.hidden.weight = source.weight_ih_l0, source.weight_hh_l0
        self.input.bias, self.hidden.bias = source.bias_ih_l0, source.bias_hh_l0

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(1, 6, dtype=torch.float64)
        for place in range(7):
            (r, z, n), (s, k, m) = self.input(x[:, place]).chunk(3, 1), self.hidden(h).chunk(3, 1)
            z = torch.sigmoid(z + k)
            h = (1 - z) * torch.tanh(n + torch.sigmoid(r + s) * m) + z * h
        return h


class Lstm(nn.Module):
    """An LSTM as its documentation writes it."""

    def __init__(self, source: nn.LSTM) -> None:
        super().__init__()
        self.input, self.hidden = nn.Linear(5, 24), nn.Linear(6, 24)
        self.input.weight, self.hidden.weight = source.weight_ih_l0, source.weight_hh_l0
        self.input.bias, self.hidden.bias = source.bias_ih_l0, source.bias_hh_l0

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(1, 6, dtype=torch.float64)
        c = torch.zeros(1, 6, dtype=torch.float64)
        for place in range(7):
            i, f, g, o = (self.input(x[:, place]) + self.hidden(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h


@pytest.mark.parametrize(
    "method", [DeepLift(), LRP(Epsilon(epsilon=0)), LRP("epsilon_alpha2_beta1"), ExcitationBackprop()], ids=repr
)
@pytest.mark.parametrize(("name", "hand"), [("gru", Gru), ("lstm", Lstm)])
def test_a_layer_is_what_its_documentation_writes(name: str, hand: Any, method: Any) -> None:
    network: Any = WITHOUT[f"{name}, last"]  # without biases, for those of a step before which there is nothing
    by_hand = nn.Sequential(hand(network.layer), network.head)
    values = [method(FlatModel.from_nn_Module(one), X, logit(1)).values for one in (network, by_hand)]
    assert_close(values[0], values[1], rtol=1e-8, atol=1e-10)


# relevance


@pytest.mark.parametrize("name", WITHOUT)
def test_no_relevance_is_lost(name: str) -> None:
    flat = FlatModel.from_nn_Module(WITHOUT[name])
    values = LRP(Epsilon(epsilon=0, stabilizer=0))(flat, X, logit(1)).values
    assert_close(values.flatten(1).sum(1), flat(X)[:, 1].detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", WITHOUT)
def test_excitation_is_a_probability(name: str) -> None:
    values = ExcitationBackprop()(FlatModel.from_nn_Module(WITHOUT[name]), X, logit(1)).values
    assert values.min() >= 0
    assert_close(values.flatten(1).sum(1), torch.ones(2, dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_composites_serve_recurrent_layers(composite: str) -> None:
    flat = FlatModel.from_nn_Module(WITH_BIASES["lstm of two ways, output"])
    assert LRP(composite)(flat, X, logit(1)).values.isfinite().all()


def test_relevance_of_pixels_is_flat_only_where_they_are_read() -> None:
    conv = nn.Sequential(nn.Conv1d(5, 5, 3, padding=1), nn.ReLU())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.layer, self.head = conv, nn.GRU(5, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(self.conv(x.transpose(1, 2)).transpose(1, 2))[0][:, -1])

    flat = FlatModel.from_nn_Module(randomized(Net()))
    plus, flat_first = (
        LRP(name)(flat, X, logit(1), wrt="conv.1").values for name in ("epsilon_plus", "epsilon_plus_flat")
    )
    assert torch.equal(plus, flat_first)


# calls


class Given(nn.Module):
    """A layer whose state is given, learned, or handed on from another layer."""

    def __init__(self, layer: Any, how: str) -> None:
        super().__init__()
        self.layer, self.how, self.head = layer, how, nn.Linear(6, 3)
        self.before, self.start = nn.LSTM(5, 6), nn.Parameter(torch.zeros(1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        if self.how == "nothing":
            return self.head(self.layer(x)[0][-1])
        if self.how == "zeros":
            start = x.new_zeros(1, x.shape[1], 6)
            return self.head(self.layer(x, (start, start))[0][-1])
        if self.how == "learned":
            start = self.start.expand(-1, x.shape[1], -1).contiguous()
            return self.head(self.layer(input=x, hx=(start, start))[0][-1])
        return self.head(self.layer(x, self.before(x)[1])[0][-1])


@pytest.mark.parametrize("how", ["zeros", "learned", "handed on"])
def test_states_that_are_given(how: str) -> None:
    network = randomized(Given(nn.LSTM(5, 6), how))
    flat = FlatModel.from_nn_Module(network)
    totals = DeepLift()(flat, X, logit(1)).values.flatten(1).sum(1)
    with torch.no_grad():
        assert_close(totals, (network(X) - network(X * 0))[:, 1], rtol=0, atol=1e-10)
    for method in (LRP(), ExcitationBackprop()):
        assert method(flat, X, logit(1)).values.isfinite().all()


def test_a_state_of_zeros_is_none() -> None:
    layer = nn.LSTM(5, 6)
    flats = [FlatModel.from_nn_Module(randomized(Given(layer, how))) for how in ("nothing", "zeros")]
    for method in (DeepLift(), LRP(), ExcitationBackprop()):
        assert_close(*(method(flat, X, logit(1)).values for flat in flats), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", [*LAYERS.values(), nn.GRU(5, 6), nn.LSTM(5, 6, 2, bidirectional=True)])
@pytest.mark.parametrize("batch", [True, False])
def test_the_pieces_compute_what_the_layer_does(layer: Any, batch: bool) -> None:
    layer = randomized(layer if isinstance(layer, nn.Module) else layer())
    x = drawn(3, 4, 5) if batch else drawn(4, 5)
    network, values = pieces_of(layer, [x])
    outputs, expected = (pytree.tree_flatten(one) for one in (network(*values.values()), layer(x)))
    assert outputs[1] == expected[1]
    for one, other in zip(outputs[0], expected[0], strict=True):
        assert_close(one, other, rtol=1e-12, atol=1e-13)
    assert not network.opaque


def test_changed_weights_are_seen_and_few_lengths_are_kept() -> None:
    network: Any = randomized(Read(nn.GRU(5, 6, batch_first=True), "last"))
    flat = FlatModel.from_nn_Module(network)
    DeepLift()(flat, X, logit(1))
    with torch.no_grad():
        network.layer.weight_hh_l0 *= -1.5
        totals = DeepLift()(flat, X, logit(1)).values.flatten(1).sum(1)
        assert_close(totals, (network(X) - network(X * 0))[:, 1], rtol=0, atol=1e-10)
    layer = flat.layers["layer"]
    first = pieces_of(layer, [X])[0]
    assert pieces_of(layer, [X[:1]])[0] is first, "made for a length, whatever the batch"
    for length in range(1, MOST_NETWORKS + 2):
        pieces_of(layer, [drawn(1, length + 7, 5)])
    assert pieces_of(layer, [X])[0] is not first
    layer.weight_ih_l0 = nn.Parameter(layer.weight_ih_l0.detach() * 2)
    now, values = pieces_of(layer, [X])
    assert_close(now(*values.values())[0], layer(X)[0])


class Packed(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return pack_padded_sequence(x, torch.tensor([7, 5])[: len(x)], batch_first=True)


class OfLengths(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.packed, self.layer, self.head = Packed(), nn.GRU(5, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.packed(x))[1][0])


@pytest.mark.parametrize("method", [DeepLift(), LRP(), ExcitationBackprop()], ids=repr)
def test_packed_sequences_are_refused(method: Any) -> None:
    with pytest.raises(NotApplicable, match="packed sequence"):
        method(FlatModel.from_nn_Module(randomized(OfLengths())), X, logit(1))


# networks that see pictures by rows and columns


class Sequencer(nn.Module):
    """LSTMs over the rows and the columns of a map (N, H, W, C), as in Sequencer (Tatsunami and Taki 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.rows, self.columns = (
            nn.LSTM(channels, channels // 4, batch_first=True, bidirectional=True) for _ in range(2)
        )
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        y = self.norm(x)
        vertical, _ = self.columns(y.permute(0, 2, 1, 3).reshape(-1, h, c))
        horizontal, _ = self.rows(y.reshape(-1, w, c))
        vertical = vertical.reshape(n, w, h, -1).permute(0, 2, 1, 3)
        return x + self.fc(torch.cat([vertical, horizontal.reshape(n, h, w, -1)], -1))


class Picture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 4, 4), nn.Sequential(Sequencer(8), Sequencer(8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x).permute(0, 2, 3, 1))).mean((1, 2)))


def test_pictures_by_rows_and_columns() -> None:
    network = randomized(Picture())
    flat, x = FlatModel.from_nn_Module(network), drawn(2, 3, 20, 24)
    assert sum(isinstance(layer, nn.LSTM) for layer in flat.layers.values()) == 4
    totals = DeepLift()(flat, x, logit(1)).values.flatten(1).sum(1)
    with torch.no_grad():
        assert_close(totals, (network(x) - network(x * 0))[:, 1], rtol=0, atol=1e-8)
    plain = FlatModel.from_nn_Module(randomized(Picture(), biases=False))
    values = ExcitationBackprop()(plain, x, logit(1)).values
    assert values.min() >= 0
    assert_close(values.flatten(1).sum(1), torch.ones(2, dtype=torch.float64), rtol=1e-9, atol=0)
