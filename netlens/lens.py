"""NetLens: the facade that a person uses in a notebook."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from netlens import objectives
from netlens.attribution import Attribution, Method, together
from netlens.attribution.batch import output_of, owned
from netlens.attribution.method import check_matches, configured, picture
from netlens.attribution.options import check_options
from netlens.classes import ClassNames
from netlens.errors import NetLensError, NetLensWarning, NonFiniteError
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.flat.intake import channels_of, weight_of
from netlens.flat.twin import unwrapped
from netlens.methods import Methods
from netlens.objectives import Objective
from netlens.objectives.classes import check_known, classes_of, plain
from netlens.objectives.regions import Region
from netlens.predictions import Prediction, Predictions, Reading, read
from netlens.preprocessing import Preprocessing, as_batch


class NetLens(Methods):
    """Explains what a network sees in an image, or in each image of a batch.

    network: a `FlatModel`, or any module, which is then flattened (and never changed).
    x: a PIL image, a path, bytes, an array, or a list of these, which are preprocessed as the network expects; or a
    float tensor (C, H, W) or (N, C, H, W), which is taken as already preprocessed.
    target: the class to explain by index or name, or one for each image; None explains what the network predicts. Of
    maps of scores (segmentation) it is explained over where the network predicts it, of boxes in its surest one.
    Several for one image explain each of them, as a batch in which methods that perturb the image do so once for all.
    preprocessing, classes: for a module that netlens does not know; by default its adapter's.
    precision: "bf16" rounds products to bfloat16: faster where the processor knows it, less exact (docs/speed.md).

    Every registered method is a method here, with its own options, and `objective` and `wrt` besides:
    `lens.grad_cam(layer="layer3")`, `lens.saliency(wrt="layer2")`, ... `dir(lens)` lists them.

    >>> from netlens.zoo import open_network
    >>> from netlens.world.scene import scene
    >>> lens = NetLens(open_network(), scene(0, label=3).image)
    >>> lens.predictions(k=1)[0][0].name
    'striped square'
    >>> lens.grad_cam().heatmap().shape
    torch.Size([1, 1, 128, 128])
    """

    def __init__(
        self,
        network: FlatModel | nn.Module,
        x: Any,
        target: Any = None,
        *,
        preprocessing: Preprocessing | None = None,
        classes: ClassNames | Sequence[str] | None = None,
        precision: Literal["bf16"] | None = None,
    ) -> None:
        if precision not in (None, "bf16"):
            raise NetLensError(f"precision is None (the network's own) or 'bf16', not {precision!r}.")
        self.precision = precision
        if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
            raise NetLensError(f"preprocessing is a Preprocessing, not a {type(preprocessing).__name__}.")
        self.flat = _with_knowledge(_flattened(network, x, preprocessing), preprocessing, classes)
        self.x = self._batch(x)
        check_matches(self.flat, self.x)
        several = plain(target)
        self.copies = len(self.x) == 1 and isinstance(several, (list, tuple)) and len(several) > 1
        self.reading = self._read()
        if self.copies:  # views of the one image, by which methods know that what they run serves all targets
            self.x = self.x.expand(len(several), *self.x.shape[1:])
            self.reading = self.reading.repeated(len(several))
        if self.logits.isnan().any():
            raise NonFiniteError(
                f"the output of {self.flat.name} holds NaN; check its weights, and the scale of the input."
            )
        if self.flat.classes is not None and len(self.flat.classes) != self.logits.shape[1]:
            raise NetLensError(
                f"{len(self.flat.classes)} class names were given for the {self.logits.shape[1]} classes of "
                f"{self.flat.name}; give one for each."
            )
        self.targets = self._targets(target)
        self.objective = self._objective()

    @property
    def logits(self) -> Tensor:
        """(N, classes): the scores before the softmax; of maps their mean over positions, of boxes the highest."""
        return self.reading.logits

    @property
    def image(self) -> Tensor | None:
        """(N, C, H, W) in [0, 1]: the images as the network sees them; None where the input is no image."""
        return picture(self.flat, self.x)

    def predictions(self, k: int = 5) -> Predictions:
        """The k most probable classes of each image; for a network with one logit, its sigmoid.

        Of maps of scores it is the mean over positions, the share of the image; of boxes the highest score.
        """
        if not isinstance(k, int) or k < 1:
            raise NetLensError(f"k is how many classes are shown, 1 or more, not {k!r}.")
        scores = self.reading.probabilities
        top = scores.topk(min(k, scores.shape[1]), dim=1)
        return Predictions(
            [
                Prediction(c, self.name_of(c), p, float(self.logits[i, c]))
                for p, c in zip(top.values[i].tolist(), top.indices[i].tolist(), strict=True)
            ]
            for i in range(len(scores))
        )

    def name_of(self, index: int) -> str:
        """The name of a class, or `class 7` where the network's classes have no names."""
        names = self.flat.classes
        return names[index] if names is not None and index < len(names) else f"class {index}"

    @overload
    def attribute(
        self,
        method: Method | type[Method] | str,
        objective: Objective | None = None,
        wrt: str = "input",
        **options: Any,
    ) -> Attribution: ...
    @overload
    def attribute(
        self,
        method: Sequence[Method | type[Method] | str],
        objective: Objective | None = None,
        wrt: str = "input",
        **options: Any,
    ) -> list[Attribution]: ...
    def attribute(
        self, method: Any, objective: Objective | None = None, wrt: str = "input", **options: Any
    ) -> Attribution | list[Attribution]:
        """Explain by a method, given as an instance, a class, a name, or a list of them, which share what they can.

        objective: what to explain; by default the logit of the target. wrt: the input, or a layer. options: the
        method's own, unless an instance was given.
        """
        asked = self.objective if objective is None else objective
        if not isinstance(method, (list, tuple)):
            return self._explained(configured(method, options), self.x, asked, wrt)
        methods = [configured(one, options) for one in method]
        for one in methods:
            check_options(one)  # before the run that they share
        with self._rounding(), together(methods, self.flat, self.x, asked, wrt) as x:
            return [self._explained(one, x, asked, wrt) for one in methods]

    def _explained(self, method: Method, x: Tensor, objective: Objective, wrt: str) -> Attribution:
        with self._rounding():
            found = method(self.flat, x, objective, wrt)
        if self.precision is None:
            return found
        maps = None if found.maps is None else found.maps.to(x.dtype)
        marked = replace(found.provenance, precision=self.precision)
        return replace(found, values=found.values.to(x.dtype), maps=maps, provenance=marked)

    def _rounding(self) -> AbstractContextManager[object]:
        return nullcontext() if self.precision is None else torch.autocast(self.x.device.type, torch.bfloat16)

    def show(self, *methods: Method | type[Method] | str, **look: Any) -> Any:
        """A panel that compares methods (by default a choice of them) side by side."""
        from netlens.show import panel

        chosen = methods if methods else ("saliency", "integrated_gradients", "grad_cam", "occlusion")
        return panel(self.attribute(list(chosen)), **look)

    def __repr__(self) -> str:
        explained = ", ".join(self.name_of(target) for target in self.targets)
        return f"NetLens({self.flat.name}, {tuple(self.x.shape)}, explains: {explained})"

    def _batch(self, x: Any) -> Tensor:
        if isinstance(x, Tensor) and x.is_floating_point() and x.ndim in (2, 5):  # vectors, or clips of video
            return x.detach()
        return _as_input(x, self.flat, self.flat.adapter.preprocessing, channels_of(self.flat))

    def _read(self) -> Reading:
        """What the network says, in one forward without gradients."""
        try:
            with torch.inference_mode(False), torch.no_grad():
                return read(self.flat, output_of(self.flat, owned(self.x)))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, IndexError, ValueError) as error:
            usual = self.flat.adapter.preprocessing.size
            hint = "" if usual is None else f" (usual: {usual[0]}x{usual[1]})"
            why = str(error).split("\n")[0]
            raise NetLensError(
                f"{self.flat.name} cannot take an input of {'x'.join(map(str, self.x.shape[1:]))}{hint}: {why}"
            ) from error

    def _targets(self, target: Any) -> tuple[int, ...]:
        n, count = self.logits.shape
        if target is None:
            return self.reading.target
        targets = classes_of(list(target) if isinstance(target, tuple) else target, self.flat, n)
        check_known(targets, self.flat, count)
        for i, (asked, usual) in enumerate(zip(targets, self.reading.target, strict=True)):
            if not self.reading.predicted[i, asked] and count > 1 and not self.copies:
                which = f"image {i}: " if n > 1 else ""
                warnings.warn(
                    f"{which}explaining {self.name_of(asked)!r} ({asked}), which {self.flat.name} does not predict; "
                    f"its prediction is {self.name_of(usual)!r} ({usual}).",
                    NetLensWarning,
                    stacklevel=3,
                )
        return targets

    def _objective(self) -> Objective:
        """The score of the target: of the image, over where it is predicted, or of the surest box."""
        target = list(self.targets) if len(self.targets) > 1 else self.targets[0]
        if self.reading.boxes:
            return objectives.box(target).settled(self.flat, self.x)
        positions = self.reading.positions
        if positions is None:
            return objectives.logit(target)
        where = positions == torch.tensor(self.targets, device=positions.device)[:, None, None]
        where |= ~where.flatten(1).any(1)[:, None, None]  # predicted nowhere: asked for over the whole image
        return Region(target, weights=where)


def _flattened(network: FlatModel | nn.Module, x: Any, preprocessing: Preprocessing | None) -> FlatModel:
    """The network unrolled, with the images at hand where it is to look at what it finds on them."""
    if not isinstance(network, nn.Module) or isinstance(network, FlatModel):
        return FlatModel.from_nn_Module(network)
    adapter = adapter_of(unwrapped(network))
    if adapter.unwrap is None:
        return FlatModel.from_nn_Module(network)
    images = _as_input(x, network, adapter.preprocessing if preprocessing is None else preprocessing, None)
    return FlatModel.from_nn_Module(network, images=images)


def _as_input(x: Any, network: nn.Module, preprocessing: Preprocessing, channels: int | None) -> Tensor:
    """The images as a batch that the network takes; a float tensor is taken as it is."""
    batch = as_batch(x, preprocessing, channels)
    if isinstance(x, Tensor) and x.is_floating_point():
        return batch.detach()
    weights = weight_of(network, batch)
    return batch.to(device=weights.device, dtype=weights.dtype)


def _with_knowledge(
    flat: FlatModel, preprocessing: Preprocessing | None, classes: ClassNames | Sequence[str] | None
) -> FlatModel:
    known = flat.adapter.preprocessing if preprocessing is None else preprocessing
    if preprocessing is None and channels_of(flat) == 1 and len(known.mean) == 3:
        # what is known of the family was learned on color; in gray it is the average of that
        known = replace(known, mean=(sum(known.mean) / 3,), std=(sum(known.std) / 3,))
    names = classes if isinstance(classes, ClassNames) or classes is None else ClassNames(classes)
    adapter = None if known is flat.adapter.preprocessing else replace(flat.adapter, preprocessing=known)
    return flat.knowing(adapter, names)
