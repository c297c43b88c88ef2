"""The renderer: each sample as if alone, no further than needed, again to the bit, resumed as if never stopped."""

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import nn
from torch.testing import assert_close
from torch.utils.data import get_worker_info
from torchvision.models import MobileNetV2, VisionTransformer

from netlens.classes import ClassNames
from netlens.errors import LayerNotFound, NetLensError, NetLensWarning, NonFiniteError, NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks
from netlens.flat.adapter import Adapter
from netlens.objectives import (
    Objective,
    boundary,
    channel,
    diversity,
    interpolation,
    l2,
    layer,
    logit,
    output,
    total_variation,
)
from netlens.preprocessing import Preprocessing
from netlens.results import State
from netlens.visualization import (
    Alpha,
    Callback,
    Fourier,
    Frames,
    LaplacianSmoothing,
    OptVis,
    Pixel,
    Shared,
    normalized,
)
from netlens.visualization import _ascent as ascent
from netlens.visualization._judge import (
    Judge,
)
from netlens.visualization._schedule import (
    Cosine,
    Plateau,
    Schedule,
    Steps,
)
from netlens.visualization.transforms import Chain

PLAIN = Preprocessing(None, None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
LBFGS = partial(torch.optim.LBFGS, lr=1, max_iter=5, history_size=5)


def flattened(module, preprocessing=None):
    adapter = None if preprocessing is None else Adapter(preprocessing=preprocessing)
    return FlatModel.from_nn_Module(module.double(), adapter=adapter)


@pytest.fixture(scope="module")
def mobilenet():
    torch.manual_seed(0)
    return flattened(randomized(MobileNetV2(5, 0.25, [[1, 8, 1, 1], [6, 12, 2, 2]])))


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
    return flattened(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)))


def rendered(flat, objective, param, steps=6, transforms=None, **options):
    return OptVis(flat, objective, transforms).render(param, steps=steps, progress=False, **options)


def assert_same(one, other, atol=0.0):
    torch.testing.assert_close(one.images, other.images, rtol=0, atol=atol)
    torch.testing.assert_close(one.history, other.history, rtol=0, atol=atol, equal_nan=True)


# samples

OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, lr=0.05),
    "sgd": partial(torch.optim.SGD, lr=5.0, momentum=0.9),
    "nadam": partial(torch.optim.NAdam, lr=0.1),
    "lbfgs": LBFGS,
    "adafactor": partial(torch.optim.Adafactor, lr=0.1),  # looks at all numbers of a tensor together
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("param", [Fourier, Pixel])
def test_each_sample_of_a_batch_is_its_own_single_run(mobilenet, optimizer, param):
    options = {"optimizer": OPTIMIZERS[optimizer], "redirect": 2}
    objective = channel("features.2", 0)
    together = rendered(mobilenet, objective, param(20, batch=3, seed=[4, 9, 2]), **options)
    assert together.images.shape == (3, 3, 20, 20) and together.seeds == (4, 9, 2)
    for i, seed in enumerate((4, 9, 2)):
        alone = rendered(mobilenet, objective, param(20, seed=seed), **options)
        assert_same(together[i], alone, atol=1e-5)
        torch.testing.assert_close(together.history[:, i], alone.history[:, 0], rtol=1e-7, atol=1e-9)
    assert not torch.allclose(together.images[0], together.images[1], atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 2])
@pytest.mark.parametrize("objective", [channel("features.2", [0, 1, 2]), layer("features.1") - 0.1 * total_variation()])
def test_a_batch_in_chunks_is_the_batch(mobilenet, monkeypatch, objective, chunk):
    options = {"redirect": 2, "gradient": normalized}
    whole = rendered(mobilenet, objective, Fourier(20, batch=3), **options)
    runs = []
    original = Judge.__call__

    def counted(self, images, *rest, **more):
        runs.append(len(images))
        return original(self, images, *rest, **more)

    monkeypatch.setattr(Judge, "__call__", counted)
    monkeypatch.setattr(ascent, "fitting", lambda meter: chunk)
    assert_same(rendered(mobilenet, objective, Fourier(20, batch=3), **options), whole, atol=1e-9)
    assert max(runs) == chunk


def test_samples_that_depend_on_each_other_run_together(mobilenet, monkeypatch):
    monkeypatch.setattr(ascent, "fitting", lambda meter: 1)
    objective = channel("features.2", 0) - diversity("features.2")
    render = rendered(mobilenet, objective, Fourier(20, batch=3))
    assert not torch.allclose(render.history[-1], rendered(mobilenet, objective, Fourier(20)).history[-1])


def test_a_picture_that_no_memory_could_hold_is_refused():
    with pytest.raises(NetLensError, match="89,478,485 pixels"):
        Fourier(10**20)


def test_several_targets_in_a_batch(plain):
    together = rendered(plain, logit([2, 0]), Fourier(16, batch=2), optimizer=LBFGS)
    for i, target in enumerate((2, 0)):
        assert_same(together[i], rendered(plain, logit(target), Fourier(16, seed=i), optimizer=LBFGS), atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_same_seed_same_bits(mobilenet, optimizer):
    options = {"optimizer": OPTIMIZERS[optimizer]}
    objective = channel("features.2", 1)
    one, again = (rendered(mobilenet, objective, Fourier(17, batch=2, seed=3), **options) for _ in range(2))
    assert_same(one, again)


def test_samples_that_depend_on_each_other_share_an_lbfgs(plain):
    objective = channel("3", 0) - diversity("3")
    run = rendered(plain, objective, Pixel(12, batch=2), optimizer=LBFGS)
    assert len(run.state.optimizers) == 1
    shared = rendered(plain, channel("3", 0), Shared(Pixel(12, batch=2)), optimizer=LBFGS)
    assert len(shared.state.optimizers) == 1
    between = rendered(plain, interpolation(channel("3", 0), channel("3", 1)), Pixel(12, batch=3), optimizer=LBFGS)
    assert len(between.state.optimizers) == 3
    last = rendered(plain, channel("3", 1), Pixel(12, seed=2), optimizer=LBFGS)
    assert_same(between[2], last, atol=1e-6)


# the optimization itself


@dataclass(frozen=True)
class Bowl(Objective):
    """Minus a stretched distance of the mean colors to others: a concave quadratic with known best."""

    best: tuple[float, ...]
    stretch: tuple[float, ...]

    @property
    def layers(self):
        return ("input",)

    def __call__(self, record):
        colors = record["input"].mean((2, 3))
        return -((colors - colors.new_tensor(self.best)).square() * colors.new_tensor(self.stretch)).sum(1)


def test_lbfgs_finds_the_best_of_a_quadratic_as_scipy_does():
    flat = flattened(nn.Conv2d(3, 1, 1), PLAIN)
    bowl = Bowl((0.2, 0.6, 0.7), (1.0, 30.0, 500.0))
    strong = partial(torch.optim.LBFGS, lr=1, max_iter=20, line_search_fn="strong_wolfe", tolerance_change=0)
    param = Pixel(1, decorrelate=False)
    run = rendered(flat, bowl, param, steps=20, transforms=Chain(), optimizer=strong)
    torch.testing.assert_close(run.images[0, :, 0, 0], torch.tensor(bowl.best), rtol=0, atol=1e-5)

    def loss(values):
        colors = 1 / (1 + np.exp(-values))
        return float(((colors - np.array(bowl.best)) ** 2 * np.array(bowl.stretch)).sum())

    start = param.start(dtype=torch.float64)[0].detach().flatten().numpy()
    optimum = minimize(loss, start, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    expected = 1 / (1 + np.exp(-optimum.x))
    np.testing.assert_allclose(run.images.flatten().numpy(), expected, atol=1e-4)


def test_the_closure_judges_the_current_picture():
    """A stale one would give the same value at each of the evaluations within a step."""
    flat = flattened(nn.Conv2d(3, 1, 1), PLAIN)
    values = []

    class Seen(Bowl):
        def __call__(self, record):
            value = super().__call__(record)
            values.append(float(value.detach()))
            return value

    bowl = Seen((0.2, 0.6, 0.7), (1.0, 2.0, 5.0))
    rendered(flat, bowl, Pixel(4), steps=1, transforms=Chain(), optimizer=partial(torch.optim.LBFGS, max_iter=10))
    assert len(values) > 5 and len(set(values)) == len(values)
    assert values[-1] > values[0] * 0.01


def test_adam_does_as_by_hand(plain):
    objective, param = channel("3", 2), Pixel(14, seed=5)
    run = rendered(plain, objective, param, steps=5, transforms=Chain(), redirect=0)
    (values,) = param.start(dtype=torch.float64)
    optimizer = torch.optim.Adam([values], lr=0.05)
    units = plain.adapter.preprocessing
    for _ in range(5):
        optimizer.zero_grad()
        (-plain(units.normalize(param.image([values])), until="3")[:, 2].mean()).backward()
        optimizer.step()
    torch.testing.assert_close(run.images, param.image([values]).detach().float(), rtol=0, atol=1e-6)
    assert not plain.layers["3"].weight.requires_grad


def test_rates_and_their_schedule(plain):
    learning_rates = []

    class Rates(torch.optim.SGD):
        def step(self, closure=None):
            learning_rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    make = partial(Rates, lr=0.5)
    rendered(plain, channel("3", 0), Pixel(12), steps=8, optimizer=make, schedule=Schedule(Steps((0.5,), 0.1)))
    np.testing.assert_allclose(learning_rates, [0.5] * 4 + [0.05] * 4)
    rates = [Cosine(warmup=0.25, end=0.1)(step, 8) for step in range(8)]
    np.testing.assert_allclose(rates[2:], [0.1 + 0.9 * (1 + math.cos(math.pi * k / 6)) / 2 for k in range(6)])
    assert 0 < rates[0] < rates[1] < rates[2] == 1


def test_pictures_grow(plain):
    sizes = []

    class Sizes(Callback):
        def on_step(self, moment):
            sizes.append(tuple(moment.images.shape[-2:]))

    schedule = Schedule(sizes=(10, (14, 15)))
    run = rendered(plain, channel("3", 0), Fourier((19, 21)), steps=6, schedule=schedule, callbacks=[Sizes()])
    assert sizes == [(10, 10)] * 2 + [(14, 15)] * 2 + [(19, 21)] * 2
    assert run.images.shape == (1, 3, 19, 21)


@pytest.mark.parametrize("gradient", [normalized, LaplacianSmoothing(3), (LaplacianSmoothing(2), normalized)])
def test_gradient_transforms_make_the_step_independent_of_the_scale(plain, gradient):
    sgd = partial(torch.optim.SGD, lr=0.5)
    options = {"optimizer": sgd, "gradient": gradient, "steps": 3}
    one = rendered(plain, channel("3", 0), Pixel(16, batch=2), **options)
    tenfold = rendered(plain, 10 * channel("3", 0), Pixel(16, batch=2), **options)
    torch.testing.assert_close(one.images, tenfold.images, rtol=0, atol=1e-6)
    assert not torch.allclose(one.images, rendered(plain, channel("3", 0), Pixel(16, batch=2), steps=3).images)


def test_smoothing_of_one_level_is_division_by_strength():
    gradient = torch.randn(2, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    strength = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(LaplacianSmoothing(1)(gradient), gradient / strength)
    wave = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    wave[..., ::2, :] = 1.002  # beside a strong long wave, a weak short one comes up to its strength
    smooth = LaplacianSmoothing(2)(wave)
    inner = smooth[0, 0, 4:12, 4]
    torch.testing.assert_close(inner.diff().abs(), torch.full((7,), 2.0, dtype=torch.float64), rtol=0.01, atol=0)


def test_small_pictures_are_magnified_without_a_frame():
    flat = flattened(nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 2)), replace(PLAIN, size=(24, 24)))
    judge = Judge.of(flat, layer("1"), Chain(), (10, 14))
    pictures = torch.rand(1, 3, 10, 14, generator=torch.Generator(), dtype=torch.float64)
    wanted = F.interpolate(pictures, (24, 24), mode="bilinear")
    assert judge.size == (24, 24)
    assert_close(judge.plain_input(pictures), wanted, rtol=0, atol=1e-12)


def test_a_history_that_stays_at_nothing_has_come_to_its_end():
    assert Plateau(4)(torch.zeros(8, 1)).all() and not Plateau(4)(torch.arange(8.0)[:, None]).any()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"steps": 10**20}, "the number of steps is 10*, but must be a whole number from 1 to 1,000,000"),
        ({"optimizer": lambda parameters: torch.optim.Adam([torch.zeros(3, requires_grad=True)])}, "no others"),
        ({"optimizer": partial(torch.optim.Adam, maximize=True)}, "maximized already"),
        ({"callbacks": None}, "callbacks is"),
        ({"callbacks": Frames(2)}, "callbacks is"),
        ({"gradient": 5}, "gradient is"),
        ({"gradient": lambda gradient: gradient[:, :1]}, "gradient transform gave"),
        ({"gradient": lambda gradient: None}, "gradient transform gave"),
        ({"stop": 5}, "stop is"),
        ({"stop": lambda history: True}, "stop gave"),
        ({"transforms": lambda images, generators: None}, "of the transforms gave"),
        ({"transforms": lambda images, generators: images[:, :1]}, "of the transforms gave"),
        ({"transforms": lambda images, generators: images[..., :0]}, "of the transforms gave"),
    ],
)
def test_what_cannot_be_is_told(options, complaint):
    flat = dead_network(nn.ReLU(), 0.0)
    with pytest.raises(NetLensError, match=complaint):
        rendered(flat, channel("2", 0), **{"param": Pixel(6), "steps": 2} | options)


@pytest.mark.parametrize("answer", [None, 1.0], ids=str)
def test_an_objective_that_gives_no_tensor_is_told(answer):
    class Own(Objective):
        layers = ("2",)

        def __call__(self, record):
            return answer

        def __repr__(self):
            return "own"

    with pytest.raises(NotApplicable, match="own gives"):
        rendered(dead_network(nn.ReLU(), 0.0), Own(), param=Pixel(6), steps=2)


def test_each_picture_of_a_batch_is_captioned_by_its_own_objective():
    flat = dead_network(nn.ReLU(), 0.0)
    render = rendered(flat, channel("2", [1, 0]), Pixel(6, batch=2), steps=1)
    assert render.captions == ("channel('2', [1])", "channel('2', [0])")
    assert rendered(flat, channel("2", 1), Pixel(6, batch=2), steps=1).captions is None


# what is dead


def dead_network(rectifier, bias):
    """Its only channel starts far outside of the rectifier's range, and a brighter picture brings it in."""
    network = nn.Sequential(nn.Conv2d(3, 1, 1), rectifier, nn.Conv2d(1, 2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].bias.fill_(bias)
        network[2].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    return flattened(network, PLAIN)


def test_redirected_gradients_wake_a_dead_unit():
    flat = dead_network(nn.ReLU(), -1.9)
    options = {"param": Pixel(6, decorrelate=False), "steps": 40, "transforms": Chain()}
    with pytest.warns(NetLensWarning, match="was 0 at all steps for sample 0"):
        gray = rendered(flat, channel("2", 0), redirect=0, **options)
    assert not gray.history.any() and gray.images.std() < 0.01
    awake = rendered(flat, channel("2", 0), redirect=30, **options)
    assert awake.history[0] == 0 and awake.history[-1] > 0.3


@pytest.mark.parametrize("penalty", [total_variation(), boundary(2), l2()], ids=str)
def test_a_penalty_on_the_picture_hides_no_dead_unit(penalty):
    flat = dead_network(nn.ReLU(), -1.9)
    options = {"param": Pixel(6, decorrelate=False), "steps": 40, "transforms": Chain()}
    objective = channel("2", 0) - 1e-4 * penalty
    with pytest.warns(NetLensWarning, match="was 0 at all steps for sample 0"):
        rendered(flat, objective, redirect=0, **options)
    assert rendered(flat, objective, redirect=30, **options).history[-1] > 0.3


def test_a_dead_picture_is_noted_in_the_render_and_in_its_file(tmp_path):
    flat = dead_network(nn.ReLU(), -1.9)
    options = {"param": Pixel(6, decorrelate=False), "transforms": Chain()}
    with pytest.warns(NetLensWarning, match="was 0 at all steps"):
        render = rendered(flat, channel("2", 0), redirect=0, steps=3, **options)
    assert render.diagnostics["found_nothing"].tolist() == [1.0]
    again = type(render).load(render.save(tmp_path / "dead.safetensors"))
    assert again[0].diagnostics["found_nothing"].tolist() == [1.0]
    assert not rendered(flat, channel("2", 0), redirect=30, steps=40, **options).diagnostics


def test_they_wake_what_starts_above_the_upper_end():
    flat = dead_network(nn.ReLU6(), 5.0)
    options = {"param": Pixel(6, decorrelate=False), "steps": 40, "transforms": Chain()}
    with pytest.warns(NetLensWarning, match="was 0 at all steps"):
        assert (rendered(flat, channel("2", 1), redirect=0, **options).history == -6).all()
    assert rendered(flat, channel("2", 1), redirect=30, **options).history[-1] > -5.9


@pytest.mark.parametrize(
    ("rectifier", "bias", "sign"), [(nn.ReLU6(), 5.5, 1), (nn.ReLU(), -1.0, 1), (nn.ReLU(), -2, -1)]
)
def test_a_rectifier_that_the_objective_reads_never_stops_the_picture(rectifier, bias, sign):
    """Saturated, dead, or as low as it can be: the picture goes on to where it is safely so."""
    flat = dead_network(rectifier, bias)
    param = Pixel(6, decorrelate=False)
    for transforms in (Chain(), None):
        run = rendered(flat, sign * channel("1", 0), param, steps=60, redirect=0, transforms=transforms)
        assert (run.images - 0.5).mul(sign).min() > 0.3


@pytest.mark.parametrize("rectifier", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish])
def test_a_layer_before_an_in_place_rectifier_is_read_as_it_was(rectifier):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        conv.bias.fill_(-1)  # a rectified value would differ everywhere
    flat = flattened(nn.Sequential(conv, rectifier(inplace=True), nn.Conv2d(4, 2, 3)), PLAIN)
    param = Pixel(8, seed=3)
    (start,) = param.start(dtype=torch.float64)
    image = param.image([start])
    wanted = conv(image)[0, 1].mean()
    optimizer = partial(torch.optim.SGD, lr=0.1)
    render = OptVis(flat, channel("0", 1), Chain()).render(param, steps=1, optimizer=optimizer, progress=False)
    assert wanted < 0 and render.history[0, 0].item() == pytest.approx(wanted.item(), rel=1e-12)
    # and the step follows the gradient of that value
    slope = torch.autograd.grad(wanted, start)[0]
    moved = param.image([start.detach() + 0.1 * slope])
    torch.testing.assert_close(render.images.double(), moved.detach(), rtol=0, atol=1e-6)


def test_a_live_network_is_optimized_alike_with_and_without():
    torch.manual_seed(0)
    flat = flattened(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)))
    assert_same(*(rendered(flat, channel("2", 0), Fourier(16), redirect=steps) for steps in (0, 6)))


# what is run, and what is touched


def test_no_layer_beyond_the_deepest_runs():
    class Counted(nn.Module):
        calls = 0

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            Counted.calls += 1
            return self.inner(x)

    class Never(nn.Module):
        def forward(self, x):
            raise AssertionError("this layer is not needed")

    relu, late = Counted(nn.ReLU()), Never()
    network = nn.Sequential(nn.Conv2d(3, 4, 1), relu, nn.Conv2d(4, 4, 1), nn.Identity())
    nn.init.ones_(network[0].weight)  # the rectifier lets some of a picture through
    flat = flattened(network, PLAIN)
    flat = flat.replace("1.inner", relu).replace("3", late)
    rendered(flat, channel("2", 0), Pixel(8), steps=1)  # it is told once where the positions of layers lie
    Counted.calls = 0
    rendered(flat, channel("2", 0), Pixel(8), steps=5, redirect=0)
    assert Counted.calls == 6  # one to see whether the network takes pictures of this size
    with pytest.raises(NotApplicable, match="not needed"):
        rendered(flat, channel("3", 0), Pixel(8), steps=1)
    Counted.calls = 0
    rendered(flat, l2(0.3), Pixel(8), steps=5)  # an objective on the picture needs no network at all
    assert Counted.calls == 0


def test_a_lack_of_memory_is_not_taken_for_a_size_that_the_network_refuses():
    class Greedy(nn.Module):
        def forward(self, x):
            if x.shape[2] > 16:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return x

    sized = Adapter(preprocessing=Preprocessing((16, 16), (16, 16), (0.5,) * 3, (0.25,) * 3))
    flat = FlatModel.from_nn_Module(nn.Sequential(Greedy(), nn.Conv2d(3, 2, 1)), adapter=sized)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        rendered(flat, channel("1", 0), Pixel(32), steps=1)


def test_weights_gradients_generators_and_modes_are_as_they_were():
    torch.manual_seed(0)
    network = randomized(MobileNetV2(5, 0.25, [[1, 8, 1, 1]])).double().train()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    generators = torch.get_rng_state(), np.random.get_state()[1].copy()
    rendered(FlatModel.from_nn_Module(network), channel("features.1", 0), Fourier(16), optimizer=LBFGS)

    class Stop(Callback):
        def on_step(self, moment):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rendered(FlatModel.from_nn_Module(network), channel("features.1", 0), Fourier(16), callbacks=[Stop()])
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(p.requires_grad and bool((p.grad == 1).all()) for p in network.parameters()) and network.training
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in network.modules())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (np.random.get_state()[1] == generators[1]).all()
    assert get_worker_info() is None


def test_without_gradients_and_in_inference_mode(plain):
    expected = rendered(plain, channel("3", 0), Fourier(16))
    with torch.no_grad():
        assert_same(rendered(plain, channel("3", 0), Fourier(16)), expected)
    with torch.inference_mode():
        assert_same(rendered(plain, channel("3", 0), Fourier(16)), expected)


def test_nothing_is_printed(plain, capfd):
    OptVis(plain, channel("3", 0)).render(Fourier(16), steps=3)
    assert capfd.readouterr() == ("", "")


def test_hooks_see_the_network_that_judges(plain):
    with Hooks(plain, ["3"]) as hooks:
        rendered(plain, channel("3", 0), Fourier(16), steps=2)
    assert hooks["3"].activation.shape[1] == 8


# sizes and channels


def test_the_network_looks_at_the_size_of_the_picture_or_else_at_its_own():
    torch.manual_seed(0)
    vit = randomized(VisionTransformer(32, 8, 1, 2, 16, 32, num_classes=5))
    flat = flattened(vit, Preprocessing((32, 32), 32, (0.5,) * 3, (0.5,) * 3))
    assert Judge.of(flat, logit(0), Chain(), (20, 20)).size == (32, 32)
    for size in (20, (50, 40)):
        run = rendered(flat, logit(1), Fourier(size), steps=30)
        assert run.history[-5:].mean() > run.history[:5].mean()
    convolutions = flattened(nn.Sequential(nn.Conv2d(3, 4, 3)), Preprocessing((32, 32), 32, (0.5,) * 3, (0.5,) * 3))
    assert Judge.of(convolutions, channel("0", 0), Chain(), (20, 27)).size == (20, 27)


def test_a_failure_of_the_network_itself_reaches_the_caller():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("broken for its own reasons")

    flat = flattened(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity()), Preprocessing((32, 32), 32, (0.5,) * 3, (0.5,) * 3)
    )
    with pytest.raises(ValueError, match="its own reasons"):
        rendered(flat.replace("1", Broken()), channel("1", 0), Pixel(16))


def test_pictures_reach_the_network_as_its_preprocessing_says():
    units = Preprocessing((8, 8), 8, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    flat = flattened(nn.Sequential(nn.Conv2d(3, 1, 1)), units)
    activations = []

    def first(record):
        activations.append(record["0"].detach())
        return record["0"].flatten(1).mean(1)

    class First(Objective):
        layers = ("0",)

        def __call__(self, record):
            return first(record)

    param = Pixel(8)
    rendered(flat, First(), param, steps=1, transforms=Chain())
    image = param.image(param.start(dtype=torch.float64)).detach()
    torch.testing.assert_close(activations[0], flat(units.normalize(image)), rtol=1e-9, atol=1e-9)


def test_a_gray_network_gets_gray_pictures_and_a_transparent_one_is_laid_on_backgrounds(plain):
    torch.manual_seed(0)
    gray = flattened(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)))
    assert rendered(gray, channel("2", 0), Fourier(16)).images.shape == (1, 1, 16, 16)
    run = rendered(plain, channel("3", 0), Alpha(Fourier(16, batch=2)), steps=20)
    assert run.images.shape == (2, 4, 16, 16)
    assert run.history[-3:].mean() > run.history[:3].mean()


# guards


def test_nan_names_the_step_and_the_sample(plain):
    class Breaks(Objective):
        layers = ("3",)
        calls = 0

        def __call__(self, record):
            Breaks.calls += 1
            values = channel("3", 0)(record)
            return values / torch.tensor([1.0, 0.0 if Breaks.calls == 4 else 1.0], dtype=values.dtype)

    with pytest.raises(NonFiniteError, match=r"step 3.*sample 1 \(seed 8\)"):
        rendered(plain, Breaks(), Pixel(12, batch=2, seed=7), steps=9)


def test_nan_in_a_gradient_alone_is_found(plain):
    def root(scores):
        return (scores[:, 0] * 0).abs().sqrt()  # 0, with a gradient of 0 / 0

    with pytest.raises(NonFiniteError, match=r"step 0.*sample 0"):
        rendered(plain, output(root), Pixel(12), steps=3)


def test_what_makes_no_sense_is_refused(plain):
    with pytest.raises(LayerNotFound):
        OptVis(plain, channel("nowhere", 0))
    with pytest.raises(NetLensError, match="channel 8"):
        rendered(plain, channel("3", 8), Pixel(12))
    with pytest.raises(NetLensError, match="steps is 0, but must be a whole number from 1"):
        rendered(plain, channel("3", 0), Pixel(12), steps=0)
    with pytest.raises(NetLensError, match="optimizer"):
        rendered(plain, channel("3", 0), Pixel(12), optimizer=lambda tensors: "adam")
    with pytest.raises(NetLensError, match="FlatModel"):
        OptVis(nn.Conv2d(3, 3, 1), channel("3", 0))
    with pytest.raises(NetLensError, match="objective"):
        OptVis(plain, "3:0")


@pytest.mark.parametrize(
    "options",
    [
        {"param": Pixel},
        {"param": "pixel"},
        {"steps": 1.5},
        {"steps": "3"},
        {"steps": True},
        {"redirect": -1},
        {"optimizer": "adam"},
        {"optimizer": None},
        {"schedule": 3},
        {"resume": 3},
        {"transforms": "none"},
        {"transforms": Chain},
    ],
    ids=str,
)
def test_options_of_another_type_are_named(plain, options):
    (name,) = options
    with pytest.raises(NetLensError, match=name):
        rendered(plain, channel("3", 0), **{"param": Pixel(12), **options})


def test_a_batch_of_which_one_is_dead_says_which():
    flat = dead_network(nn.ReLU(), -1.9)
    with torch.no_grad():
        flat.layers["2"].weight[1] = 0
    with pytest.warns(NetLensWarning, match="for sample 1,"):
        rendered(flat, channel("2", [0, 1]), Pixel(6, batch=2), steps=4, redirect=4, transforms=Chain())


@pytest.mark.parametrize("expected", [None, (12, 12)])
def test_a_network_of_another_size_says_which_were_tried(expected):
    flat = flattened(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), Preprocessing(expected, None, (0.5,) * 3, (1.0,) * 3)
    )
    tried = "20 by 20 pixels" if expected is None else "20 by 20 or 12 by 12 pixels"
    with pytest.raises(NotApplicable, match=tried):
        rendered(flat, logit(0), Pixel(20))
    assert rendered(flat, logit(0), Pixel(8), steps=1).images.shape == (1, 3, 8, 8)


def test_colors_that_the_preprocessing_does_not_know_are_named():
    flat = flattened(nn.Sequential(nn.Conv2d(5, 4, 1)), PLAIN)
    with pytest.raises(NotApplicable, match="takes 5 channels, but its preprocessing has a mean and std of 3"):
        rendered(flat, channel("0", 0), Pixel(8))


# stopping and going on


def test_early_stop_keeps_each_sample_as_it_was_when_it_was_done(plain):
    def stop(history):
        return history[-1] > threshold

    objective, param = channel("3", 0), Fourier(16, batch=3)
    free = rendered(plain, objective, param, steps=60)
    threshold = float(free.history.amax(0).min()) * 0.6
    together = rendered(plain, objective, param, steps=60, stop=stop)
    lengths = (~together.history.isnan()).sum(0)
    assert len(set(lengths.tolist())) > 1 and len(together.history) == lengths.max() < 60
    for i in range(3):
        alone = rendered(plain, objective, Fourier(16, seed=i), steps=60, stop=stop)
        assert len(alone.history) == lengths[i]
        torch.testing.assert_close(together.images[i], alone.images[0], rtol=0, atol=1e-5)
        as_long = rendered(plain, objective, Fourier(16, seed=i), steps=int(lengths[i]))
        torch.testing.assert_close(alone.images, as_long.images, rtol=0, atol=0)


def test_a_plateau_is_where_nothing_is_gained():
    rising = torch.arange(40.0)
    flat = torch.cat([torch.arange(20.0), torch.full((20,), 19.0)])
    stop = Plateau(patience=8, gain=0.01)
    done = torch.stack([stop(torch.stack([rising, flat], 1)[:t]) for t in range(1, 41)])
    assert not done[:, 0].any()
    assert not done[:30, 1].any() and done[-1, 1]


RESUMED = {
    "adam": {},
    "lbfgs": {"optimizer": LBFGS},
    "cosine": {"schedule": Schedule(Cosine(0.2))},
    "growing": {"schedule": Schedule(sizes=(10,))},
    "at its growth": {"schedule": Schedule(sizes=(10, 12))},
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_is_the_uninterrupted_one(plain, name, tmp_path):
    options, param = RESUMED[name], Fourier(16, batch=2)
    steps = 9 if name == "at its growth" else 10

    class Interrupted(Callback):
        def on_step(self, moment):
            if moment.step == 6:
                moment.state.save(tmp_path / "state.safetensors")
                raise KeyboardInterrupt

    whole = rendered(plain, channel("3", 0), param, steps=steps, **options)
    with pytest.raises(KeyboardInterrupt):
        rendered(plain, channel("3", 0), param, steps=steps, callbacks=[Interrupted()], **options)
    state = State.load(tmp_path / "state.safetensors")
    assert_same(rendered(plain, channel("3", 0), param, steps=steps, resume=state, **options), whole)


def test_a_render_goes_on(plain):
    half = rendered(plain, channel("3", 0), Fourier(16), steps=5)
    assert_same(
        rendered(plain, channel("3", 0), Fourier(16), steps=9, resume=half),
        rendered(plain, channel("3", 0), Fourier(16), steps=9),
    )
    with pytest.raises(NetLensError, match="same param"):
        rendered(plain, channel("3", 0), Fourier(20), steps=9, resume=half)
    with pytest.raises(NetLensError, match="5 steps"):
        rendered(plain, channel("3", 0), Fourier(16), steps=4, resume=half)
    with pytest.raises(NetLensError, match="another optimizer"):
        pair = rendered(plain, channel("3", 0), Fourier(16, batch=2), steps=3)
        rendered(plain, channel("3", 0), Fourier(16, batch=2), steps=5, resume=pair, optimizer=LBFGS)


def test_callbacks_hear_of_each_step_and_frames_are_kept(plain):
    heard = []

    class All(Callback):
        def on_start(self, moment):
            heard.append(("start", moment.step, moment.values))

        def on_step(self, moment):
            heard.append(("step", moment.step, float(moment.values[0])))

        def on_end(self, moment):
            heard.append(("end", moment.step, tuple(moment.images.shape)))

    run = rendered(plain, layer("3"), Pixel(12), steps=5, callbacks=[All(), Frames(every=2)])
    assert heard[0] == ("start", 0, None) and heard[-1] == ("end", 5, (1, 3, 12, 12))
    assert heard[1:-1] == [("step", i + 1, float(run.history[i, 0])) for i in range(5)]
    assert len(run.frames) == 4  # steps 0, 2, 4 and 5
    torch.testing.assert_close(run.frames[-1], run.images, rtol=0, atol=0)
    start = Pixel(12)
    torch.testing.assert_close(run.frames[0], start.image(start.start(dtype=torch.float64)).detach().float())


def test_outputs_beyond_the_names_have_none(plain):
    named = plain.knowing(classes=ClassNames(("one", "two")))
    render = rendered(named, logit(3), Pixel(8), steps=1)
    assert render.provenance.targets == (3,) and render.provenance.target_names is None
