"""FlatModel: any network as a flat list of pure, named layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule

from netlens.classes import ClassNames
from netlens.errors import LayerNotFound, NetLensError, RecordError, TraceError
from netlens.flat import surgery
from netlens.flat.adapter import Adapter, adapter_of, logits_of, rewritten
from netlens.flat.allocator import keep_freed_memory
from netlens.flat.keys import LayerKey, Layers, several
from netlens.flat.layers import Normalize, Opaque
from netlens.flat.memo import forget
from netlens.flat.operations import is_kind
from netlens.flat.program import Program
from netlens.flat.rules import Rules
from netlens.flat.source import Made, Source
from netlens.flat.summary import Summary, summarize
from netlens.flat.taps import tapped_inputs, tapped_visit
from netlens.flat.trace import trace
from netlens.flat.twin import twins, unwrapped
from netlens.flat.unroll import unroll
from netlens.flat.unrolled import Unrolled

OUTPUT = "output"


class FlatModel(Unrolled):
    """Any network as a flat list of pure, named layers that share the network's weights.

    Make one with `FlatModel.from_nn_Module(network)`. It always computes what the network computes in eval mode.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    >>> flat = FlatModel.from_nn_Module(net)
    >>> list(flat.layers)
    ['0', '1', '2']
    >>> import torch
    >>> x = torch.randn(5, 3)
    >>> torch.equal(flat(x), net(x))
    True
    >>> flat(x, until="1").shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        program: Program,
        name: str,
        opaque: Mapping[str, str] | None = None,
        adapter: Adapter | None = None,
        classes: ClassNames | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.adapter = adapter if adapter is not None else Adapter()
        self.classes = classes
        self.origin = object()  # shared by views that differ in rules or knowledge only, so that hooks reach them too
        self.training = False
        self._source: Source | None = None  # of which network this is, or an edited version
        self._made_of: Program | None = None  # what that network was unrolled to at that time
        self._hold(program, opaque if opaque is not None else {})

    def _hold(self, program: Program, opaque: Mapping[str, str]) -> None:
        self.program, self.opaque = program, dict(opaque)
        shown = {step.key: step.layer for step in program.steps if not step.hidden}
        self.layers = Layers(shown, self.name)
        # keys are paths with dots, which add_module refuses; the names of parameters become those of the original
        self._modules.clear()
        self._modules.update(shown)

    @classmethod
    def from_nn_Module(  # noqa: N802 - the public name
        cls,
        module: nn.Module,
        inputs: Sequence[str] | None = None,
        adapter: Adapter | None = None,
        classes: ClassNames | None = None,
        name: str | None = None,
        images: Tensor | None = None,
    ) -> FlatModel:
        """Unroll a network. The network itself is never changed; its weights are shared.

        inputs: the arguments of its forward that are inputs; by default those without a default value.
        adapter: what is known about its family; by default the one registered for its class.
        classes: names of its classes; by default the adapter's.
        name: how messages and results call it; by default its class.
        images: the batch to be explained, for networks that look at what they find on it (two-stage detectors).

        Raises `TraceError` when the network's own forward cannot be traced; a submodule that cannot be is kept whole
        and named in `flat.opaque`.
        """
        if not isinstance(module, nn.Module):
            raise NetLensError(f"a network is a torch.nn.Module, not a {type(module).__name__}.")
        network = unwrapped(module)
        if isinstance(network, ScriptModule):
            raise TraceError("a scripted network has no Python code to unroll; give the network that it was made from.")
        if isinstance(network, FlatModel):
            if inputs is not None:
                raise NetLensError("a flat model's inputs are fixed; flatten the original with inputs=... instead.")
            return network.knowing(adapter, classes, name)
        keep_freed_memory()
        known = adapter if adapter is not None else adapter_of(network)

        def make() -> Made:
            twin, parts = twins(network)
            traced = trace(twin if known.unwrap is None else known.unwrap(twin, images), inputs, rewritten, parts)
            return Made(*unroll(traced), traced.written)

        source, names = Source(network, make), classes if classes is not None else known.classes
        called = name if name is not None else type(network).__name__.lower()
        flat = cls(source.made.program, called, source.made.opaque, known, names)
        flat._source, flat._made_of = source, source.made.program
        return flat

    def follow(self) -> None:
        """Take up what has changed in the network since it was unrolled: an attribute, a parameter, a submodule.

        The flat model does so whenever it is called, and so do methods and hooks. Raises `NetLensError` for a view that
        was edited or given rules, which has to be made again.
        """
        if torch.compiler.is_compiling():  # a compiled network is one as it was
            return
        made = None if self._source is None else self._source.refresh()
        if made is None or made.program is self._made_of:
            return
        if self.program is not self._made_of:
            raise NetLensError(
                f"the network behind this view of {self.name} has changed (an attribute, a parameter or a submodule is "
                "another one); make the view again from the flat model."
            )
        forget(self)
        self._made_of = made.program
        self._hold(made.program, made.opaque)

    def detached(self) -> FlatModel:
        """This flat model as it is now, which no longer asks whether its network has changed."""
        self._source = self._made_of = None
        return self

    def _after(self, other: FlatModel) -> FlatModel:
        """This flat model as a view of another, whose network it watches, too."""
        self._source, self._made_of = other._source, other._made_of
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> FlatModel:
        # with `.double()` or `.to(device)` it gets weights of its own, which no network changes
        before = [parameter.data_ptr() for parameter in self.parameters()]
        super()._apply(*args, **kwargs)
        return self if before == [parameter.data_ptr() for parameter in self.parameters()] else self.detached()

    def __getstate__(self) -> dict[str, Any]:
        # a copy has weights of its own, which no network changes
        return {**self.__dict__, "_source": None, "_made_of": None}

    def forward(self, *inputs: Any, until: LayerKey | None = None) -> Any:
        """The network's output, or the activation of layer `until`, past which nothing runs."""
        self.follow()
        wanted = self.program.outputs if until is None else (self.key(until),)
        values = self.program.run(self._named(inputs), wanted, tapped_visit(self))
        return self.program.assemble(values) if until is None else values[wanted[0]]

    def record(self, *inputs: Any, layers: LayerKey | Sequence[LayerKey]) -> dict[str, Tensor]:
        """The activations of `layers` by key, and nothing run past the deepest of them.

        "input" names the input, and "output" the network's output, among the layers.
        """
        self.follow()
        return self.run(self._named(inputs), self.keys_of(layers))

    def resume(self, activations: Mapping[str, Any], until: LayerKey | None = None) -> Any:
        """The output (or the activation at `until`) computed from recorded activations onwards.

        `activations` must cut the network: `flat.frontier(key)` says which ones do. Raises `RecordError` with the
        missing ones otherwise.
        """
        self.follow()
        known = {self._known(key): value for key, value in activations.items()}
        wanted = self.program.outputs if until is None else (self.key(until),)
        missing = self.program.missing(known, wanted)
        if missing:
            raise RecordError(
                f"these activations do not suffice to go on; also needed: {', '.join(map(repr, missing))}. "
                "flat.frontier(key) lists what to record."
            )
        values = self.program.run(known, wanted, tapped_visit(self))
        return self.program.assemble(values) if until is None else values[wanted[0]]

    def frontier(self, key: LayerKey) -> tuple[str, ...]:
        """The activations (and inputs) that, recorded, let the network resume after layer `key`."""
        exact = self.key(key)
        return self.inputs if exact in self.inputs else self.program.frontier(exact)

    def run(self, known: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        """The engine under all of these: the `wanted` values (exact keys, or "output") from the `known` ones."""
        visit = tapped_visit(self)
        if OUTPUT not in wanted or OUTPUT in self.layers:
            return self.program.run(known, wanted, visit)
        keys = list(dict.fromkeys([key for key in wanted if key != OUTPUT] + list(self.program.outputs)))
        values = self.program.run(known, keys, visit)
        values[OUTPUT] = self.program.assemble(values)
        return {key: values[key] for key in wanted}

    def key(self, name: LayerKey) -> str:
        """The exact key of the layer that `name` names: a key, a path, a glob, a type or an index."""
        return name if isinstance(name, str) and name in self.inputs else self.layers.key(name)

    def keys_of(self, names: LayerKey | Sequence[LayerKey]) -> list[str]:
        """Exact keys for names of layers, "input" and "output" included."""
        given = several(names)
        special = [n for n in given if isinstance(n, str) and n in (*self.inputs, OUTPUT) and n not in self.layers]
        return special + self.layers.find_all([n for n in given if n not in special])

    def logits(self, output: Any) -> Tensor:
        """Class scores (N, classes), or maps of them (N, classes, h, w), from the network's output."""
        return (self.adapter.logits if self.adapter.logits is not None else logits_of)(output)

    def with_rules(self, rules: Rules) -> FlatModel:
        """A view of the same weights in which chosen layers propagate backwards by `rules`."""
        self.follow()
        view = self.edited(rules.program_of(self))
        view.origin = self.origin
        return view

    def prepend(self, name: str, layer: nn.Module) -> FlatModel:
        """A flat model in which `layer`, called `name`, stands between the input and its first readers.

        With a `Normalize` the network takes images in [0, 1], and its adapter's preprocessing says so.
        """
        flat = self.insert_after(self.inputs[0], name, layer)
        if isinstance(layer, Normalize):
            known = self.adapter.preprocessing
            plain = replace(known, mean=(0.0,) * len(known.mean), std=(1.0,) * len(known.std))
            flat.adapter = replace(self.adapter, preprocessing=plain)
        return flat

    def insert_after(self, key: LayerKey, name: str, layer: nn.Module) -> FlatModel:
        """A flat model with a new `layer` after `key`, which all readers of `key` then read."""
        self.follow()
        return self.edited(surgery.insert_after(self.program, self.key(key), name, layer))

    def insert_before(self, key: LayerKey, name: str, layer: nn.Module) -> FlatModel:
        """A flat model with a new `layer` between `key` and the first value that it reads."""
        self.follow()
        return self.edited(surgery.insert_before(self.program, self.layers.key(key), name, layer))

    def replace(self, key: LayerKey, layer: nn.Module) -> FlatModel:
        """A flat model with `layer` in the place of `key`."""
        self.follow()
        return self.edited(surgery.substitute(self.program, self.layers.key(key), layer))

    def remove(self, key: LayerKey) -> FlatModel:
        """A flat model without `key`, whose readers read its one input instead."""
        self.follow()
        return self.edited(surgery.remove(self.program, self.layers.key(key)))

    def cut(self, key: LayerKey) -> FlatModel:
        """A flat model that ends after `key`: its output is the activation there."""
        self.follow()
        return self.edited(surgery.cut(self.program, self.layers.key(key)))

    def knowing(
        self, adapter: Adapter | None = None, classes: ClassNames | None = None, name: str | None = None
    ) -> FlatModel:
        """A view of this flat model with another adapter, other class names or another name, where given."""
        self.follow()
        if adapter is None and classes is None and name is None:
            return self
        view = FlatModel(
            self.program,
            name if name is not None else self.name,
            self.opaque,
            adapter if adapter is not None else self.adapter,
            classes if classes is not None else self.classes,
        )
        view.origin = self.origin
        return view._after(self)

    def edited(self, program: Program) -> FlatModel:
        """A flat model of another program, with the name, adapter and classes of this one."""
        keys = {step.key for step in program.steps if is_kind(step.layer, Opaque)}
        opaque = {key: why for key, why in self.opaque.items() if key in keys}
        return FlatModel(program, self.name, opaque, self.adapter, self.classes)._after(self)

    def train(self, mode: bool = True) -> FlatModel:
        """Does nothing: a flat model is the network as it predicts, in eval mode."""
        return self

    def get_submodule(self, target: str) -> nn.Module:
        """The layer at `target`; keys have dots but are no nested modules."""
        return self if target == "" else self.layers[target]

    def _named(self, inputs: Sequence[Any]) -> dict[str, Any]:
        if len(inputs) != len(self.inputs):
            raise NetLensError(
                f"{self.name} takes {len(self.inputs)} input(s) ({', '.join(self.inputs)}), but got {len(inputs)}."
            )
        return tapped_inputs(self, dict(zip(self.inputs, inputs, strict=True)))

    def _known(self, key: str) -> str:
        if key in self.inputs or key in self.layers:
            return key
        raise LayerNotFound(f"{self.name} has no layer {key!r}; activations are given by exact key.")

    def summary(self, *sizes: tuple[int, ...]) -> Summary:
        """Key, type, shape, parameters and receptive field of every layer, for inputs of these sizes.

        By default for one image of the size that the network expects. Nothing is computed but shapes, unless some layer
        needs numbers to tell its own.
        """
        self.follow()
        return summarize(self, self.adapter.preprocessing, *sizes)

    def _repr_html_(self) -> str:
        try:
            return self.summary()._repr_html_()
        except NetLensError:  # the usual size does not fit this network, and a repr is no place to ask for another
            return f"<pre>{escape(repr(self))}</pre>"

    def __repr__(self) -> str:
        return f"FlatModel({self.name}: {len(self.layers)} layers, {len(self.opaque)} opaque)"
