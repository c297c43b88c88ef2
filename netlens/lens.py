"""NetLens: the facade that a person uses in a notebook."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from netlens import objectives
from netlens.attribution import Attribution, Method, together
from netlens.attribution.activations import values_of
from netlens.attribution.batch import without_graph
from netlens.attribution.method import configured, picture
from netlens.attribution.singly import needs_several
from netlens.classes import ClassNames
from netlens.errors import NetLensError, NetLensWarning, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.heads import heads_of
from netlens.flat.keys import OUTPUT, SCORES, part
from netlens.inputs import Input
from netlens.methods import Methods
from netlens.objectives import Objective
from netlens.objectives.classes import check_known, classes_of, in_head, plain
from netlens.objectives.regions import Region
from netlens.options import checked
from netlens.predictions import Prediction, Predictions, Scores, scores_of
from netlens.preprocessing import Preprocessing

if TYPE_CHECKING:  # it loads when something is judged: whoever explains one picture does not wait for it
    from netlens.evaluation import Case, Evaluation, ImageParts, Recommendation

Choice = Method | type[Method] | str  # a method, its class or its name


class NetLens(Methods):
    """Explains what a network sees in an image, or in each image of a batch.

    Every registered method is a method here: `lens.grad_cam(layer="layer3")`, `lens.saliency(wrt="layer2")`, ...
    Each takes its own options, an `objective` and a layer `wrt`, all by keyword. `dir(lens)` lists the methods.

    Args:
        network: A `FlatModel`, or any module. A module is flattened, and never changed.
        x: A PIL image, a path, bytes, an array, a uint8 tensor, or a list of these: netlens preprocesses them as the
            network expects. Or a float tensor (C, H, W) or (N, C, H, W): netlens takes it as preprocessed already.
        target: The class to explain, by index or name; a list has one class per image. A list of several classes for
            a single image explains each of them; methods that perturb the image then run once for all classes. None
            explains the class that the network predicts. For maps of scores (segmentation) the objective is the mean
            score over the positions at which the network predicts the class; for boxes (detection) it is the score of
            the box with the highest score. If the network has several outputs, ("age", 3) is class 3 of its output
            "age", and so is "age:3"; an index names an item of a tuple.
        preprocessing: How the network wants its images; None for what its adapter says.
        classes: The names of the network's classes; None for what its adapter says.
        precision: "bf16" computes products in bfloat16, which is faster on some processors and less exact (see
            docs/speed.md); None computes in the network's own type.
        objective: What to explain, in place of a class. A network without classes, such as one that gives embeddings
            or depths, needs one, here or in each call.

    Raises:
        ImageError: An image cannot be read, or has the wrong number of channels.
        ClassNotFound: The network has no such class.
        NotApplicable: The output of the network holds no scores of classes, but a target is given. Without a target,
            `predictions` and calls without an objective raise this error.
        NetLensError: The input does not fit the network, or the class names do not fit its output.
        NonFiniteError: The input or the output holds NaN or Inf.

    Example:
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
        objective: Objective | None = None,
    ) -> None:
        self.precision = checked("precision", precision, Literal["bf16"] | None)
        fitted = Input.of(network, x, preprocessing, classes)
        self.flat, self.x = fitted.flat, fitted.batch
        if target is not None and objective is not None:
            raise NetLensError("give a target or an objective, not both.")
        self.head, classes_given = self._head(plain(target))
        self.copies = len(self.x) == 1 and isinstance(classes_given, (list, tuple)) and len(classes_given) > 1
        self._without_classes = ""  # why the network has no scores of classes
        self._scores = self._read()
        self.targets: tuple[int, ...] = ()
        self._objective = objective
        if self._scores is None:
            if target is not None:
                raise NotApplicable(self._without_classes)
            return
        if self.copies:  # as views of one image, so that methods run it once for all targets
            self.x = self.x.expand(len(classes_given), *self.x.shape[1:])
            self._scores = self._scores.repeated(len(classes_given))
        if self.logits.isnan().any():
            raise NonFiniteError(
                f"the output of {self.flat.name} holds NaN; check the weights and the scale of the input."
            )
        if self.head is None and self.flat.classes is not None and len(self.flat.classes) != self.logits.shape[1]:
            raise NetLensError(
                f"{self.flat.name} has {self.logits.shape[1]} classes, but classes has {len(self.flat.classes)} names; "
                "give one name for each class."
            )
        if objective is None:
            self.targets = self._classes(classes_given)
            self._objective = self._of_targets(self._scores)

    @property
    def scores(self) -> Scores:
        """The output of the network as scores of classes. A network without classes raises `NotApplicable`."""
        if self._scores is None:
            raise NotApplicable(self._without_classes)
        return self._scores

    @property
    def objective(self) -> Objective:
        """What is explained if a call names no objective. A network without classes has none: `NotApplicable`."""
        if self._objective is None:
            raise NotApplicable(self._without_classes)
        return self._objective

    @property
    def logits(self) -> Tensor:
        """(N, classes): the scores before the softmax; of maps the mean over positions, of boxes the highest."""
        return self.scores.logits

    @property
    def image(self) -> Tensor | None:
        """(N, C, H, W) in [0, 1]: the images as the network sees them; None if the input is no image."""
        return picture(self.flat, self.x)

    def predictions(self, k: int = 5) -> Predictions:
        """The k most probable classes of each image, most probable first.

        The probability is the softmax of the logits, or the sigmoid of a single logit. A network that ends in a softmax
        or sigmoid gives its probabilities unchanged. For maps of scores it is the mean over positions; for boxes it is
        the highest score of all boxes.

        Args:
            k: How many classes, at least 1.
        """
        k = checked("k", k, int, least=1)
        probabilities = self.scores.probabilities
        top = probabilities.topk(min(k, probabilities.shape[1]), dim=1)
        return Predictions(
            [
                Prediction(c, self.name_of(c), p, float(self.logits[i, c]))
                for p, c in zip(top.values[i].tolist(), top.indices[i].tolist(), strict=True)
            ]
            for i in range(len(probabilities))
        )

    def name_of(self, index: int) -> str:
        """The name of a class, or `class 7` if the network's classes have no names."""
        names = self.flat.classes if self.head is None else None
        return names[index] if names is not None and index < len(names) else f"class {index}"

    @overload
    def attribute(
        self, method: Choice, objective: Objective | None = None, wrt: str = "input", **options: Any
    ) -> Attribution: ...
    @overload
    def attribute(
        self, method: Sequence[Choice], objective: Objective | None = None, wrt: str = "input", **options: Any
    ) -> list[Attribution]: ...
    def attribute(
        self, method: Any, objective: Objective | None = None, wrt: str = "input", **options: Any
    ) -> Attribution | list[Attribution]:
        """Explain by one method, or by several.

        Args:
            method: An instance of a method, its class or its name; or a list of these. The methods of a list share
                the runs of the network that they have in common.
            objective: What to explain; None for the score of the target.
            wrt: The input, or the layer whose contributions are computed.
            options: The options of the method. A method instance holds its own options, so none may follow it.

        Returns:
            The attribution; a list of attributions for a list of methods.

        Raises:
            NotApplicable: The method has no meaning for this network or layer.
            NonFiniteError: NaN or Inf arises on the way; the message names the layer and the sample.
        """
        explained = self.objective if objective is None else objective
        if not isinstance(method, (list, tuple)):
            return self._explained(configured(method, options), self.x, explained, wrt)
        methods = [configured(each, options) for each in method]
        with self._rounding(), together(methods, self.flat, self.x, explained, wrt) as x:
            return [self._explained(each, x, explained, wrt) for each in methods]

    def _explained(self, method: Method, x: Tensor, objective: Objective, wrt: str) -> Attribution:
        with self._rounding():
            attribution = method(self.flat, x, objective, wrt)
        if self.precision is None:
            return attribution
        maps = None if attribution.maps is None else attribution.maps.to(x.dtype)
        provenance = replace(attribution.provenance, precision=self.precision)
        return replace(attribution, values=attribution.values.to(x.dtype), maps=maps, provenance=provenance)

    def _rounding(self) -> AbstractContextManager[object]:
        return nullcontext() if self.precision is None else torch.autocast(self.x.device.type, torch.bfloat16)

    def show(self, *explanations: Attribution | Choice, **look: Any) -> Any:
        """Draw several explanations side by side.

        Args:
            explanations: Attributions of these images, such as those of several layers, or methods; by default
                saliency, integrated gradients, Grad-CAM and occlusion.
            look: The options of `netlens.show.panel`, such as `titles`.
        """
        from netlens.show import panel  # matplotlib loads only when something is drawn

        chosen = explanations if explanations else ("saliency", "integrated_gradients", "grad_cam", "occlusion")
        explained = iter(self.attribute([one for one in chosen if not isinstance(one, Attribution)]))
        return panel([one if isinstance(one, Attribution) else next(explained) for one in chosen], **look)

    def evaluate(
        self,
        methods: Sequence[Any] | Mapping[str, Any],
        metrics: Sequence[Any] | None = None,
        masks: Tensor | None = None,
        judged: Objective | None = None,
        controls: bool = True,
        progress: bool = True,
        image_parts: ImageParts | None = None,
        neighbor: FlatModel | None = None,
        shuffled: FlatModel | None = None,
        parts: str | Path | None = None,
    ) -> Evaluation:
        """Judge several methods by several metrics on these images.

        Args:
            methods: Methods, their classes or names; attributions, or arrays (N, H, W) or (N, C, H, W) from anywhere. A
                mapping gives them names.
            metrics: Metrics, their classes or names; None for one or two of each family.
            masks: (N, H, W), True on the object that truly causes the class, for metrics of localization.
            judged: The number that metrics read when they change an image; None for the probability of the target.
            controls: Whether controls, which know nothing of the network, are judged too.
            progress: Whether a terminal shows the progress.
            image_parts: Parts of the images and the images without them, for metrics of parts.
            neighbor: The same network, trained in the same way from another seed, for `seed_agreement`.
            shuffled: The same network, trained on shuffled labels, for `data_randomization`.
            parts: A folder in which the scores stay, so that a call that was interrupted goes on where it stopped;
                None to keep nothing.

        Raises:
            NetLensError: A method or a metric is unknown, or two have one name.

        Example:
            >>> from netlens.zoo import open_network
            >>> from netlens.world.scene import scene
            >>> lens = NetLens(open_network(), scene(0, label=3).image)
            >>> table = lens.evaluate(["grad_cam", "lrp"], ["deletion", "gini"], progress=False)
            >>> table.ranking("deletion")[-1] in table.controls
            True
        """
        from netlens import evaluation

        case = replace(self._case(masks, judged), image_parts=image_parts, neighbor=neighbor, shuffled=shuffled)
        with evaluation.shown(progress) as show:
            return evaluation.evaluate(case, methods, metrics, controls, show, parts)

    def recommend(
        self,
        methods: Sequence[Any] | None = None,
        metrics: Sequence[Any] | None = None,
        masks: Tensor | None = None,
        judged: Objective | None = None,
        progress: bool = True,
        **options: Any,
    ) -> Recommendation:
        """Find the method and the options that explain these images best, by a metric.

        Args:
            methods: Methods, their classes or names; None for the usual ones.
            metrics: Metrics, their classes or names; the first decides. None for energy_inside or deletion, and others.
            masks: (N, H, W), True on the object that truly causes the class.
            judged: The number that metrics read when they change an image; None for the probability of the target.
            progress: Whether a terminal shows the progress.
            options: Further ones of `netlens.evaluation.recommend`: tuned, shown, pictures, seed, parts.

        Raises:
            NetLensError: A method or a metric is unknown, or no method applies to the network.

        Example:
            >>> from netlens.zoo import open_network
            >>> from netlens.world.scene import scene
            >>> lens = NetLens(open_network(), scene(0, label=3).image)
            >>> lens.recommend(["grad_cam", "saliency"], ["deletion"], progress=False, tuned=0).method
            'grad_cam'
        """
        from netlens import evaluation

        with evaluation.shown(progress) as show:
            return evaluation.recommend(self._case(masks, judged), methods, metrics, progress=show, **options)

    def _case(self, masks: Tensor | None, judged: Objective | None) -> Case:
        """These images with what is explained, and by default judged by the probability of the target."""
        from netlens import evaluation

        if judged is None and self.targets and self._objective is not None:
            judged = objectives.probability(list(self.targets) if len(self.targets) > 1 else self.targets[0])
        return evaluation.Case(self.flat, self.x, self.objective, judged, masks)

    def input_gradient(
        self, *, guided: bool = False, objective: Objective | None = None, wrt: str = "input"
    ) -> Attribution:
        """Explain by `InputGradient`; or, if `guided` is True, by `GuidedBackprop`."""
        return self.attribute("guided_backprop" if guided else "input_gradient", objective, wrt)

    def __repr__(self) -> str:
        objective = "no class" if self._objective is None else repr(self._objective)
        explained = ", ".join(map(self.name_of, self.targets)) or objective
        return f"NetLens({self.flat.name}, {tuple(self.x.shape)}, explains: {explained})"

    def _head(self, target: Any) -> tuple[str | None, Any]:
        """The output that a target names (None for the one that holds the scores), and the classes."""
        if isinstance(target, tuple) and len(target) == 2:
            names = heads_of(self.flat).entries
            if target[0] in names and (isinstance(target[0], str) or heads_of(self.flat).are_items):
                return in_head(target, self.flat)
        if isinstance(target, str) and ":" in target:  # "age:3", as the command line gives it
            head, _, name = target.partition(":")
            if head in heads_of(self.flat).entries:
                return in_head((head, name.strip()), self.flat)
        return None, list(target) if isinstance(target, tuple) else target

    def _read(self) -> Scores | None:
        """The scores of the images, from one forward pass without gradients; None if the network has no classes."""
        try:
            names = [part(SCORES, self.head), OUTPUT]
            with torch.inference_mode(False), torch.no_grad():
                values = values_of(self.flat, without_graph(self.x), names)
                return scores_of(self.flat, values, self.head)
        except NotApplicable as reason:
            self._without_classes = str(reason)
            return None
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, IndexError, ValueError) as error:
            size = self.flat.adapter.preprocessing.size
            hint = "" if size is None else f" (the usual size is {size[0]}x{size[1]})"
            reason_of_torch = str(error).split("\n")[0]
            if len(self.x) == 1 and needs_several(self.flat, self.x):
                raise NetLensError(
                    f"{self.flat.name} runs with two samples, but not with one; give a batch as large as it needs: "
                    f"{reason_of_torch}"
                ) from error
            raise NetLensError(
                f"{self.flat.name} cannot take an input of {'x'.join(map(str, self.x.shape[1:]))}{hint}: "
                f"{reason_of_torch}"
            ) from error

    def _classes(self, target: Any) -> tuple[int, ...]:
        """The class to explain in each sample, by index."""
        n, count = self.logits.shape
        if target is None:
            return self.scores.target
        targets = classes_of(target, self.flat, n)
        check_known(targets, self.flat, count)
        for i, (chosen, predicted) in enumerate(zip(targets, self.scores.target, strict=True)):
            if not self.scores.predicted[i, chosen] and count > 1 and not self.copies:
                image = f"image {i}: " if n > 1 else ""
                warnings.warn(
                    f"{image}explaining {self.name_of(chosen)!r} ({chosen}), which {self.flat.name} does not predict; "
                    f"its prediction is {self.name_of(predicted)!r} ({predicted}).",
                    NetLensWarning,
                    stacklevel=3,
                )
        return targets

    def _of_targets(self, scores: Scores) -> Objective:
        """The score of the target in the image, in the positions where the target is predicted, or in its best box."""
        classes = list(self.targets) if len(self.targets) > 1 else self.targets[0]
        target = classes if self.head is None else (self.head, classes)
        if scores.boxes:
            return objectives.box(target).settled(self.flat, self.x)
        if scores.positions is None:
            return objectives.logit(target)
        where = scores.positions[range(len(self.targets)), list(self.targets)]
        nowhere = ~where.flatten(1).any(1)  # a class that is predicted nowhere is explained over the whole image
        where = where | nowhere.reshape(-1, *[1] * (where.ndim - 1))
        return Region(target, weights=where)
