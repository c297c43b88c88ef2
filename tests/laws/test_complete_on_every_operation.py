"""DeepLIFT is complete on every operation that has a slope, whether a rule is known for it or not; the oracle is the
change of the network itself. What jumps is named in one warning, with what it misses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import DeepLift, DeepLiftShap, chunks_of
from netlens.errors import NetLensWarning
from netlens.flat import FlatModel
from netlens.objectives import logit

FEATURES = 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Between(nn.Module):
    """A convolution, an operation on its maps (N, 6, 6, 8), and a linear head of what that gives."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.operation = operation
        self.conv = nn.Conv2d(3, FEATURES, 3, padding=1).double()
        with torch.no_grad():
            width = operation(self.conv(drawn(1, 3, 6, 8))).flatten(1).shape[1]
        self.head = nn.Linear(width, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.operation(self.conv(x)).flatten(1))


class Opaque(nn.Module):
    """Kept whole, for its control flow depends on the data; `several` outputs, of which one holds integers."""

    def __init__(self, several: bool) -> None:
        super().__init__()
        self.several = several

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        if float(x.detach().sum()) > -1e9:
            y = x.sigmoid() * x.mean(1, keepdim=True)
        return (y, x.argmax(1), x.exp()) if self.several else torch.relu(y - 0.1) + y.abs()


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Opaque(several=True)

    def forward(self, x: Tensor) -> Tensor:
        first, _, last = self.inner(x)
        return first * last


class Deformable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.offset = nn.Conv2d(FEATURES, 18, 3, padding=1).double()
        self.conv = torchvision.ops.DeformConv2d(FEATURES, 5, 3, padding=1).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, self.offset(x))


class Slopes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.1, 0.4, FEATURES).double())

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight)


def written_into(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 0] *= 2
    y[:, 1:3].relu_()
    y[y > 1.0] = 0.5
    return y


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "divided by its deviation": lambda x: x / x.std(1, keepdim=True),
    "var_mean": lambda x: torch.cat(torch.var_mean(x, 1), 1),
    "std_mean": lambda x: torch.cat(torch.std_mean(x, 1), 1),
    "cosine similarity": lambda x: F.cosine_similarity(x, x.flip(1).tanh(), 1),
    "a norm": lambda x: x / x.norm(dim=1, keepdim=True),
    "distances": lambda x: F.pairwise_distance(x, x.flip(1))[..., None] + torch.cdist(x, x.flip(1))[..., :2],
    "prelu": Slopes(),
    "a spectrum": lambda x: torch.fft.rfft2(x).abs(),
    "phases": lambda x: torch.fft.ifft2(torch.fft.fft2(x) * torch.exp(1j * torch.arange(8.0))).real.tanh(),
    "kthvalue": lambda x: x.kthvalue(3, 1).values,
    "sort": lambda x: x.sort(1)[0],
    "sort, downwards": lambda x: torch.sort(x, descending=True, stable=True).values,
    "msort": lambda x: torch.msort(x.transpose(0, 1)).transpose(0, 1),
    "topk": lambda x: torch.topk(x, 3, dim=-1, largest=False).values,
    "topk of a size": lambda x: x.topk(x.shape[1] // 2, 1)[0],
    "median": lambda x: x.median(2, keepdim=True).values,
    "unpooled": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "quantile": lambda x: x.quantile(0.3, 1),
    "cummax": lambda x: x.cummax(1)[0],
    "deformable convolution": Deformable(),
    "a grid of its own": lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=False),
    "detached": lambda x: x * x.detach() + x.data,
    "straight through": lambda x: x + (x.round() - x).detach(),
    "roots of nothing": lambda x: x.relu().sqrt() + x.clamp(min=0).pow(0.3),
    "opaque": Opaque(several=False),
    "opaque, of several outputs": Several(),
    "written into": written_into,
    "masked": lambda x: x * (x > 0) + torch.where(x > 0.2, x, x.flip(1)) + x.masked_fill(x < 0, 0.0),
    "rounded": lambda x: x.round() + x.floor() * x.sign() + x.frac() + x % 0.3,
    "constants": lambda x: x * torch.ones_like(x) + x.new_tensor([2.0]) * torch.full_like(x, 3) + x.new_zeros(1),
    "norms with sizes": lambda x: F.layer_norm(x, x.shape[1:]) + F.normalize(x, p=4),
    "singular values": lambda x: torch.linalg.svdvals(x),
    "adaptive pool": lambda x: F.adaptive_max_pool1d(x.flatten(2), 5),
    "products": lambda x: x.prod(1) + x.cumprod(1).mean(1) + x.logsumexp(1),
}


@pytest.mark.parametrize("baseline", ["random", "zero"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_values_sum_to_the_change(name: str, baseline: str) -> None:
    network = Between(OPERATIONS[name]).eval()
    x = drawn(2, 3, 6, 8)
    before = drawn(2, 3, 6, 8, seed=1) if baseline == "random" else 0 * x
    values = DeepLift(baselines=before)(FlatModel.from_nn_Module(network), x, logit(1)).values
    with torch.no_grad():
        change = (network(x) - network(before))[:, 1]
    assert torch.isfinite(values).all()
    assert_close(values.flatten(1).sum(1), change, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["cosine similarity", "var_mean", "sort", "opaque", "a grid of its own"])
def test_a_batch_equals_its_samples_and_its_chunks(name: str) -> None:
    flat = FlatModel.from_nn_Module(Between(OPERATIONS[name]).eval())
    x = drawn(3, 3, 6, 8)
    whole = DeepLift()(flat, x, logit(1)).values
    with chunks_of(2):
        assert_close(DeepLift()(flat, x, logit(1)).values, whole, rtol=1e-9, atol=1e-12)
    single = torch.cat([DeepLift()(flat, one, logit(1)).values for one in x.split(1)])
    assert_close(single, whole, rtol=1e-9, atol=1e-12)


JUMPS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a mask made a number": (lambda x: x.tanh() + (x > 0).double(), "double"),
    "a mask added": (lambda x: x + (x > 0), "add"),
    "one hot": (lambda x: F.one_hot(x.argmax(1), FEATURES).permute(0, 3, 1, 2).to(x.dtype) + x, "to"),
    "by an index": (lambda x: x.gather(1, x.argmax(1, keepdim=True).flip(2)), "gather"),
    "by a number of them": (lambda x: x.sum(1) / (x > 0).sum(1).clamp(min=1), "div"),
    "by a number taken out": (lambda x: x / x.abs().max().item() ** 4, "div"),
    "a look-up": (lambda x: F.embedding(x.argmax(1), torch.arange(12.0, dtype=torch.float64).view(6, 2)), "embedding"),
    "an angle": (lambda x: torch.fft.fft(x).angle(), "angle"),
}


def test_selections_within_a_whole_batch() -> None:
    network = Between(lambda x: x * x.max() - x.min() - x.median()).eval()
    x, before = drawn(1, 3, 6, 8), drawn(1, 3, 6, 8, seed=1)
    values = DeepLift(baselines=before)(FlatModel.from_nn_Module(network), x, logit(1)).values
    assert_close(values.sum(), (network(x) - network(before)).detach()[0, 1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", JUMPS)
def test_what_jumps_is_named_with_what_is_missed(name: str) -> None:
    operation, layer = JUMPS[name]
    network = Between(operation).eval()
    x, before = drawn(1, 3, 6, 8), drawn(1, 3, 6, 8, seed=1)
    skip = nn.Linear(3 * 6 * 8, 4).double()

    class Beside(nn.Module):
        """With a way past the jump, so that there is something to carry back."""

        def __init__(self) -> None:
            super().__init__()
            self.jumping, self.skip = network, skip

        def forward(self, x: Tensor) -> Tensor:
            return self.jumping(x) + self.skip(x.flatten(1))

    flat = FlatModel.from_nn_Module(Beside())
    with pytest.warns(NetLensWarning, match=rf"'jumping\.(\w+\.)?{layer}'") as record:
        result = DeepLift(baselines=before)(flat, x, logit(1))
    assert sum(issubclass(one.category, NetLensWarning) for one in record) == 1
    change = float((flat(x) - flat(before))[0, 1])
    gap = float(result.diagnostics["completeness_gap"][0])
    share = float(str(record[0].message).split("(")[1].split("%")[0]) / 100
    assert_close(share, abs(gap / change), rtol=0.02, atol=1e-3)
    assert abs(gap) > 1e-6 * abs(change)


def test_shap_says_it_once() -> None:
    flat = FlatModel.from_nn_Module(Between(lambda x: x.tanh() + (x > 0).double()).eval())
    with pytest.warns(NetLensWarning, match="jumps") as record:
        DeepLiftShap(n_samples=3)(flat, drawn(2, 3, 6, 8), logit(1))
    assert len(record) == 1


def test_shapes_that_differ_on_the_baseline_are_named() -> None:
    flat = FlatModel.from_nn_Module(Between(lambda x: (x[x > 0].tanh().sum() + x.mean((1, 2, 3))).unsqueeze(1)).eval())
    with pytest.warns(NetLensWarning, match="another shape on the baseline"):
        DeepLift(baselines=drawn(1, 3, 6, 8, seed=1))(flat, drawn(1, 3, 6, 8), logit(1))


def test_a_root_of_nothing_has_no_multiplier() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sqrt().sum(1), (x**0.5).sum(1)], 1)

    x, before = torch.tensor([[0.0, 4.0, 9.0]]).double(), torch.tensor([[0.0, 0.0, 4.0]]).double()
    for target in (0, 1):
        values = DeepLift(baselines=before, multiply=False)(FlatModel.from_nn_Module(Root()), x, logit(target)).values
        assert_close(values, torch.tensor([[0.0, 0.5, 0.2]]).double())


def test_a_choice_between_numbers() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :4] * torch.where(x.mean() > 0, x.mean(), x.amax())

    x, before = drawn(1, 3, 6, 8), drawn(1, 3, 6, 8, seed=1)
    network = Scaled().eval()
    values = DeepLift(baselines=before)(FlatModel.from_nn_Module(network), x, logit(1)).values
    assert_close(values.sum(), (network(x) - network(before))[0, 1], rtol=1e-9, atol=1e-10)
