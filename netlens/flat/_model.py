"""FlatModel: any network as a flat list of pure, named layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule

from netlens.classes import ClassNames
from netlens.errors import LayerNotFound, NetLensError, RecordError, TraceError
from netlens.flat._editable import Editable
from netlens.flat._fits import assumptions_of, misfit, note_fit
from netlens.flat._summary import Summary, summarize
from netlens.flat._usual import source_along
from netlens.flat.adapter import Adapter, adapter_of, rewritten
from netlens.flat.keys import OUTPUT, LayerKey, Layers, several
from netlens.flat.layers import Opaque
from netlens.flat.memory import keep_freed_memory
from netlens.flat.operations import is_kind
from netlens.flat.proof import prove
from netlens.flat.reading import key_of, logits_from
from netlens.flat.rules import Rules
from netlens.flat.running import Program, tapped_inputs, tapped_visit
from netlens.flat.tracing import AssumptionError, Source, Unrolling, kind_of, unroll
from netlens.flat.twin import twins, unwrapped
from netlens.memo import Memo, forget


class FlatModel(Editable):
    """Any network as a flat list of pure, named layers that share the network's weights.

    Make one with `FlatModel.from_nn_Module(network)`. It always computes what the network computes in eval mode.

    Args:
        program: The steps of the network.
        name: The name of the network in messages and results.
        opaque: The reason for each layer that could not be unrolled, by key.
        adapter: The adapter of the network's family; by default the plain adapter.
        classes: The names of the classes.

    Example:
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
        self.origin = object()  # views with other rules or another adapter have the same origin, so that hooks see them
        self.training = False
        self._source: Source | None = None  # the network that this model and its views follow
        self._source_program: Program | None = None  # the program of the network when this model was made
        self._set_program(program, opaque if opaque is not None else {})

    def _set_program(self, program: Program, opaque: Mapping[str, str]) -> None:
        self.program, self.opaque = program, dict(opaque)
        layers = {step.key: step.layer for step in program.steps if not step.hidden}
        self.layers = Layers(layers, self.name)
        # not by add_module, which refuses keys with dots: parameters keep the names of the original network
        self._modules.clear()
        self._modules.update(layers)

    @classmethod
    def from_nn_Module(  # noqa: N802 - the public name
        cls,
        module: nn.Module,
        inputs: Sequence[str] | None = None,
        adapter: Adapter | None = None,
        classes: ClassNames | None = None,
        name: str | None = None,
        images: Tensor | None = None,
        example: Any = None,
        check: bool = True,
    ) -> FlatModel:
        """Unroll a network. The flat model is in eval mode and shares its weights. The network never changes.

        A submodule that cannot be traced stays whole, and `flat.opaque` says why.

        Args:
            module: The network.
            inputs: The arguments of its forward that are inputs; by default those without a default value.
            adapter: The adapter of its family; by default the adapter that is registered for the class of the network.
            classes: The names of the classes that it predicts; by default those of the adapter.
            name: The name of the network in messages and results; by default the name of its class, in lower case.
            images: The batch (N, C, H, W) to be explained. Only two-stage detectors need it, because their layers
                depend on the boxes that they propose.
            example: An input, a tuple of inputs, or a dict of them by name; by default noise of the adapter's shape. So
                code that asks for shapes or types is unrolled, too, and anew for an input with another answer.
            check: Whether to compare the flat model with the network on the example. This costs a forward run of each.

        Raises:
            NetLensError: `module` is not a `torch.nn.Module`, or it is a flat model and `inputs` is given, too.
            TraceError: The network's own forward cannot be traced, or is scripted, or differs on the example.
        """
        if not isinstance(module, nn.Module):
            raise NetLensError(f"a network is a torch.nn.Module, not a {type(module).__name__}.")
        network = unwrapped(module)
        if isinstance(network, ScriptModule):
            raise TraceError("a scripted network has no Python code to unroll; give the network before scripting.")
        if isinstance(network, FlatModel):
            if inputs is not None:
                raise NetLensError("a flat model's inputs are fixed; flatten the original with inputs=... instead.")
            return network.knowing(adapter, classes, name)
        keep_freed_memory()
        adapter = adapter if adapter is not None else adapter_of(network)
        unwrap = adapter.unwrap

        def unrolled(along: Mapping[str, Any] | None) -> Unrolling:
            parts = twins(network)
            root = parts.root if unwrap is None else unwrap(parts.root, images)
            return unroll(root, inputs, rewritten, parts, along)

        source = source_along(network, unrolled, example, None if inputs else adapter.example)
        program, opaque, _ = source.unrolling
        name = name if name is not None else type(network).__name__.lower()
        flat = cls(program, name, opaque, adapter, classes if classes is not None else adapter.classes)
        flat._source, flat._source_program = source, program
        if source.example is not None:
            note_fit(program, tuple(source.example.values()))
            if check and unwrap is None:
                prove(flat, network, source.example)
        return flat

    def follow(self) -> None:
        """Unroll the network again if an attribute, a parameter or a submodule of it has changed.

        Every call of the flat model does this, and so do methods and hooks.

        Raises:
            NetLensError: The network has changed, and this flat model is an edited view or a view with rules. Make the
                view again.
        """
        if torch.compiler.is_compiling():  # compiled code keeps the network as it was
            return
        unrolling = None if self._source is None else self._source.refresh()
        if unrolling is None or unrolling.program is self._source_program:
            return
        if self.program is not self._source_program:
            raise NetLensError(
                f"the network behind this view of {self.name} has changed (an attribute, a parameter or a submodule); "
                "make the view again from the flat model."
            )
        forget(self)
        self._source_program = unrolling.program
        self._set_program(unrolling.program, unrolling.opaque)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """The answers about shapes and types on the example, each with the line of code that asks."""
        return assumptions_of(self.program)

    def detached(self) -> FlatModel:
        """Return this flat model itself. It no longer follows changes of its network."""
        self._source = self._source_program = None
        return self

    def _following(self, other: FlatModel) -> FlatModel:
        """Return this flat model itself. It now follows the network of `other`."""
        self._source, self._source_program = other._source, other._source_program
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> FlatModel:
        # `.double()` or `.to(device)` may copy the weights; later changes of the network do not reach the copies
        addresses = [parameter.data_ptr() for parameter in self.parameters()]
        super()._apply(*args, **kwargs)
        return self if addresses == [parameter.data_ptr() for parameter in self.parameters()] else self.detached()

    def __getstate__(self) -> dict[str, Any]:
        # a copy has separate weights; later changes of the network do not reach them
        return {**self.__dict__, "_source": None, "_source_program": None}

    def forward(self, *inputs: Any, until: LayerKey | None = None) -> Any:
        """Compute the output of the network, or the activation of one layer.

        Args:
            *inputs: The inputs of the network, in the order of `flat.inputs`.
            until: The layer to stop at; nothing runs after it.

        Returns:
            The output in the network's own structure, or the activation of `until`.
        """

        self.follow()
        fetches = self.program.outputs if until is None else (self.key(until),)
        try:
            values = self.program.run(self._feeds(inputs), fetches, tapped_visit(self))
        except AssumptionError as error:
            return self._other(inputs, error)(*inputs, until=until)
        return self.program.assemble(values) if until is None else values[fetches[0]]

    def fitting(self, *inputs: Any) -> FlatModel:
        """The flat model for these inputs: this one, unless one of its assumptions does not hold for them.

        Then the network is unrolled along them. The result has its own layers, and hooks of this flat model see it.
        `flat(x)`, methods and `NetLens` do this by themselves.

        Args:
            *inputs: The inputs of the network, in the order of `flat.inputs`.

        Raises:
            TraceError: The network does not take such inputs; or this flat model is an edited view or a view with
                rules, which cannot be made anew for them.
        """
        self.follow()
        other = _OTHERS.answer(self, kind_of(inputs))
        error = misfit(self.program, inputs) if other is None else None
        return self._other(inputs, error) if error is not None else other if other is not None else self

    def _other(self, inputs: Sequence[Any], error: AssumptionError) -> FlatModel:
        """The flat model of the same network for other inputs, for which an assumption of this one does not hold."""
        if self._source is None or self.program is not self._source_program:
            raise AssumptionError(
                f"this view of {self.name} has rules or edited layers, and its layers are those for inputs of another "
                f"shape or type: {error.assumption}. Make the view from flat.fitting(x), where flat is the flat model "
                "without them.",
                error.assumption,
            ) from error

        def unrolled() -> FlatModel:
            source = self._source.along(inputs)  # type: ignore[union-attr]
            program, opaque, _ = source.unrolling
            other = FlatModel(program, self.name, opaque, self.adapter, self.classes)
            other._source, other._source_program, other.origin = source, program, self.origin
            note_fit(program, inputs)
            return other

        return _OTHERS.of(self, kind_of(inputs), unrolled)

    def record(self, *inputs: Any, layers: LayerKey | Sequence[LayerKey]) -> dict[str, Tensor]:
        """Compute the activations of some layers; nothing runs after the deepest of them.

        Args:
            *inputs: The inputs of the network, in the order of `flat.inputs`.
            layers: Names of layers. "input" names the input, and "output" the output of the network.

        Returns:
            The activations by exact key.
        """
        self.follow()
        try:
            return dict(self.run(self._feeds(inputs), self.keys_of(layers)))
        except AssumptionError as error:
            return self._other(inputs, error).record(*inputs, layers=layers)

    def resume(self, activations: Mapping[str, Any], until: LayerKey | None = None) -> Any:
        """Compute the output, or the activation of `until`, from recorded activations.

        Args:
            activations: Values by exact key. They must suffice to compute all later layers; `flat.frontier(key)` lists
                keys that do.
            until: The layer to stop at.

        Returns:
            The output in the network's own structure, or the activation of `until`.

        Raises:
            RecordError: The activations do not suffice. The message lists the missing ones.
        """
        self.follow()
        feeds = {self._exact_key(key): value for key, value in activations.items()}
        fetches = self.program.outputs if until is None else (self.key(until),)
        missing = self.program.missing(feeds, fetches)
        if missing:
            raise RecordError(
                f"these activations do not suffice to resume the run; add {', '.join(map(repr, missing))}. "
                "flat.frontier(key) lists the layers to record."
            )
        values = self.program.run(feeds, fetches, tapped_visit(self))
        return self.program.assemble(values) if until is None else values[fetches[0]]

    def frontier(self, key: LayerKey) -> tuple[str, ...]:
        """The keys of the activations and inputs that `resume` needs to continue after layer `key`: a minimal cut."""
        exact = self.key(key)
        return self.inputs if exact in self.inputs else self.program.frontier(exact)

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> dict[str, Any]:
        """Compute the values at `fetches` (exact keys, or "output") from `feeds` (values by exact key)."""
        visit = tapped_visit(self)
        if OUTPUT not in fetches or self.layers.has(OUTPUT):
            return self.program.run(self.see(feeds), fetches, visit)
        keys = list(dict.fromkeys([key for key in fetches if key != OUTPUT] + list(self.program.outputs)))
        values = self.program.run(self.see(feeds), keys, visit)
        values[OUTPUT] = self.program.assemble(values)
        return {key: values[key] for key in fetches}

    def key(self, name: LayerKey) -> str:
        """The exact key of the layer that `name` names: a key, a path, a glob, a type or an index."""
        exact = key_of(self, name)
        return str(exact) if exact is not name or exact in self.inputs else self.layers.key(name)

    def keys_of(self, names: LayerKey | Sequence[LayerKey]) -> list[str]:
        """The exact keys of the layers with these names. "input" and "output" are names, too."""
        listed = [key_of(self, name) for name in several(names)]
        ends = [n for n in listed if isinstance(n, str) and n in (*self.inputs, OUTPUT) and not self.layers.has(n)]
        return ends + self.layers.find_all([n for n in listed if n not in ends])

    def logits(self, output: Any) -> Tensor:
        """Read class scores (N, classes), or maps of class scores (N, classes, h, w), from the network's output."""
        return logits_from(self, output)

    def with_rules(self, rules: Rules) -> FlatModel:
        """A view on the same weights. The layers that `rules` choose propagate backwards by these rules."""
        self.follow()
        view = self.edited(rules.program_of(self))
        view.origin = self.origin
        return view

    def knowing(
        self, adapter: Adapter | None = None, classes: ClassNames | None = None, name: str | None = None
    ) -> FlatModel:
        """A view with another adapter, other class names or another name. None keeps what this flat model has."""
        self.follow()
        if adapter is None and classes is None and name is None:
            return self
        adapter_and_classes = (
            adapter if adapter is not None else self.adapter,
            classes if classes is not None else self.classes,
        )
        view = FlatModel(self.program, name if name is not None else self.name, self.opaque, *adapter_and_classes)
        view.origin = self.origin
        return view._following(self)

    def edited(self, program: Program) -> FlatModel:
        """A flat model of another program, with the name, adapter and classes of this one."""
        keys = {step.key for step in program.steps if is_kind(step.layer, Opaque)}
        opaque = {key: reason for key, reason in self.opaque.items() if key in keys}
        return FlatModel(program, self.name, opaque, self.adapter, self.classes)._following(self)

    def train(self, mode: bool = True) -> FlatModel:
        """Do nothing: a flat model is always in eval mode."""
        return self

    def get_submodule(self, target: str) -> nn.Module:
        """The layer with the key `target`. A key has dots, but it does not name nested modules."""
        return self if target == "" else self.layers[target]

    def _feeds(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """The inputs by name, as the active taps change them."""
        if len(inputs) != len(self.inputs):
            raise NetLensError(
                f"{self.name} takes {len(self.inputs)} input(s) ({', '.join(self.inputs)}), but got {len(inputs)}."
            )
        return self.see(tapped_inputs(self, dict(zip(self.inputs, inputs, strict=True))))

    def _exact_key(self, key: str) -> str:
        if key in self.inputs or self.layers.has(key):
            return key
        raise LayerNotFound(f"{self.name} has no layer {key!r}; resume needs activations by exact key.")

    def summary(self, *sizes: tuple[int, ...]) -> Summary:
        """List the key, type, shape, parameters and receptive field of every layer.

        Only shapes are computed, unless the shape of a layer depends on numbers.

        Args:
            *sizes: The shape of each input, such as (1, 3, 224, 224); by default one image of the size that the
                adapter's preprocessing gives.

        Returns:
            A table that prints itself, and that a notebook shows as HTML.
        """
        self.follow()
        return summarize(self, self.adapter.preprocessing, *sizes)

    def _repr_html_(self) -> str:
        try:
            return self.summary()._repr_html_()
        except NetLensError:  # the default size does not fit this network, and a repr cannot take another one
            return f"<pre>{escape(repr(self))}</pre>"

    def __repr__(self) -> str:
        return f"FlatModel({self.name}: {len(self.layers)} layers, {len(self.opaque)} opaque)"


_OTHERS: Memo[FlatModel, FlatModel] = Memo(most=8)
