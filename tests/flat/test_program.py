"""Nothing runs that is not needed, nothing is kept that nobody reads, and any suffix equals the whole."""

import gc
import weakref

import pytest
import torch
import torchvision.models as tv
from torch import nn

from netlens.errors import LayerNotFound, RecordError
from netlens.evaluation import randomized
from netlens.flat import FlatModel

NETWORKS = {
    "resnet": lambda: tv.resnet.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5),
    "densenet": lambda: tv.DenseNet(8, (2, 3, 2), 16, num_classes=5),
    "googlenet": lambda: tv.GoogLeNet(5, aux_logits=False, init_weights=False),
    "shufflenet": lambda: tv.shufflenet_v2_x0_5(num_classes=5),
    "vit": lambda: tv.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5),
    "swin": lambda: tv.SwinTransformer([4, 4], 12, [2, 2], [3, 6], [4, 4], num_classes=5),
}


@pytest.fixture(scope="module", params=NETWORKS)
def flat(request):
    torch.manual_seed(0)
    return FlatModel.from_nn_Module(randomized(NETWORKS[request.param]()))


@pytest.fixture
def x():
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


def sampled(flat, count=12):
    keys = list(flat.layers)
    return keys[:: max(1, len(keys) // count)] + keys[-1:]


def called(flat, run):
    """The keys whose layers a call of `run` executes, in order."""
    keys = []
    handles = [layer.register_forward_hook(lambda *_, key=key: keys.append(key)) for key, layer in flat.layers.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return keys


def test_a_forward_calls_every_layer_once_in_order(flat, x):
    assert called(flat, lambda: flat(x)) == list(flat.layers)


def test_until_runs_just_what_leads_there(flat, x):
    keys = list(flat.layers)
    reads = {step.key: step.reads for step in flat.program.steps}
    for key in sampled(flat):
        ran = called(flat, lambda key=key: flat(x, until=key))
        assert ran[-1] == key and keys.index(key) == max(map(keys.index, ran))
        ancestors, pending = set(), {key}
        while pending:
            ancestors |= pending
            pending = {read for step in pending for read in reads.get(step, ())} - ancestors
        assert set(ran) == ancestors & set(keys)


def test_the_suffix_from_every_frontier_is_the_whole(flat, x):
    output = flat(x)
    everything = flat.record(x, layers=["input", *flat.layers])
    keys = list(flat.layers)
    for key in keys[:: 1 + len(keys) // 100]:
        cut = flat.frontier(key)
        assert torch.equal(flat.resume({name: everything[name] for name in cut}), output), key
    for key in sampled(flat):
        cut = flat.record(x, layers=list(flat.frontier(key)))
        ran = called(flat, lambda cut=cut: flat.resume(cut))
        before = set(keys[: keys.index(key) + 1])
        assert not {name for name in ran if name in before and reads_something(flat, name)}


def reads_something(flat, key):
    return any(step.reads for step in flat.program.steps if step.key == key)


def test_a_frontier_is_minimal(flat, x):
    """Without any one of its activations, something up to the layer would have to run again, or nothing can."""
    keys = list(flat.layers)
    for key in sampled(flat, 5):
        cut = flat.record(x, layers=list(flat.frontier(key)))
        for name in cut:
            rest = {other: value for other, value in cut.items() if other != name}
            try:
                ran = called(flat, lambda rest=rest: flat.resume(rest))
            except RecordError:
                continue
            assert name in ran and keys.index(name) <= keys.index(key)


def test_a_suffix_may_end_early(flat, x):
    keys = list(flat.layers)
    start, end = keys[len(keys) // 3], keys[2 * len(keys) // 3]
    cut = flat.record(x, layers=list(flat.frontier(start)))
    assert torch.equal(flat.resume(cut, until=end), flat(x, until=end))


def test_missing_and_wrong_activations_are_named(flat, x):
    keys = list(flat.layers)
    with pytest.raises(RecordError, match=r"do not suffice .*; add 'input'"):
        flat.resume({})
    with pytest.raises(LayerNotFound, match="no layer 'nowhere'"):
        flat.resume({"nowhere": x})
    with pytest.raises(LayerNotFound, match="Closest"):
        flat(x, until=keys[-1] + "x")


def test_activations_are_freed_after_their_last_reader(x):
    """In a chain with one skip, at most three tensors are alive at any time."""

    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(8)))

        def forward(self, x):
            y = self.layers(x)
            return y + x

    flat, alive, most = FlatModel.from_nn_Module(Skipping()), [], []

    def watch(layer, inputs, output):
        alive.append(weakref.ref(output))
        most.append(sum(ref() is not None for ref in alive))

    for layer in flat.layers.values():
        layer.register_forward_hook(watch)
    flat(x)
    assert max(most) == 2  # what the layer reads and what it makes; the input is the caller's
    gc.collect()
    assert not any(ref() is not None for ref in alive)


def test_recording_keeps_what_is_asked_for_and_nothing_else(x):
    flat, alive = FlatModel.from_nn_Module(nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(6)))), {}
    for key, layer in flat.layers.items():
        layer.register_forward_hook(lambda *call, key=key: alive.update({key: weakref.ref(call[2])}))
    record = flat.record(x, layers=["2", "input"])
    assert list(record) == ["input", "2"]
    assert {key for key, ref in alive.items() if ref() is not None} == {"2"}
    assert set(alive) == {"0", "1", "2"}


def test_output_stands_for_what_the_network_returns(flat, x):
    record = flat.record(x, layers=["output", 0])
    assert torch.equal(record["output"], flat(x))
    assert set(record) == {"output", next(iter(flat.layers))}
