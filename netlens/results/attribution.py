"""Attribution: what each part of an image contributed, with its heat map, its drawing and its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from netlens import heatmaps
from netlens.errors import NotApplicable
from netlens.heatmaps import HeatMapped, Reduction, ResultError, choose
from netlens.results import storage
from netlens.results.provenance import Provenance

if TYPE_CHECKING:
    from netlens.show import Picture


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(HeatMapped):
    """What each part of an image, or of a layer, contributed to an objective, for N samples.

    `values` are raw, in the units of the method. `reduction` says how they become a heat map: `magnitude`
    (gradients and kin: the sum of |v| over channels), `signed` (the same, but drawn with its sign: integrated
    gradients, occlusion) or `cam` (a class activation map: from its minimum to its maximum).

    >>> made_by = Provenance("Saliency", "resnet50", "logit(207)", targets=(207,), target_names=("golden retriever",))
    >>> a = Attribution(torch.randn(1, 3, 4, 6), torch.rand(1, 3, 4, 6), made_by)
    >>> a
    Attribution(Saliency of logit(207) at input of resnet50: (1, 3, 4, 6) float32, magnitude)
    >>> a.heatmap().shape, (a - 0.5 * a).provenance.method
    (torch.Size([1, 1, 4, 6]), 'Saliency - 0.5 * Saliency')
    """

    values: Tensor  # (N, ...), shaped like what they are with respect to; (N,1,h,w) for CAMs
    image: Tensor | None  # (N,C,H,W) in [0,1]: the explained images, over which to draw; None if they are no images
    provenance: Provenance
    maps: Tensor | None = None  # (N,C,h,w): `values` as they lie in the image, where they aren't laid out so (tokens)
    reduction: Reduction = "magnitude"
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)  # each (N, ...), e.g. the completeness gap

    def __post_init__(self) -> None:
        choose("reduction", self.reduction, Reduction)
        if self.image is not None:
            if self.image.ndim != 4:
                raise ResultError(f"The explained images are (N,C,H,W), not {tuple(self.image.shape)}.")
            object.__setattr__(self, "image", self.image.detach())
        about = {"targets": self.provenance.targets, "target_names": self.provenance.target_names}
        per_sample: dict[str, Tensor | Sequence[object] | None]
        per_sample = {"values": self.values, "maps": self.maps, **about, **self.diagnostics}
        for name, some in per_sample.items():
            count = len(self) if some is None else len(torch.atleast_1d(some) if isinstance(some, Tensor) else some)
            if count != len(self):
                raise ResultError(f"There are {len(self)} images, but {name} for {count}; give one per sample.")

    def __len__(self) -> int:
        return len(self.values if self.image is None else self.image)

    def __repr__(self) -> str:
        by, dtype = self.provenance, str(self.values.dtype).removeprefix("torch.")
        what = f"{by.method} of {by.objective} at {by.layer} of {by.network}"
        return f"Attribution({what}: {tuple(self.values.shape)} {dtype}, {self.reduction})"

    def __getitem__(self, index: int | slice) -> Attribution:
        """One sample (its batch dimension stays, as 1) or a slice of them."""
        if not isinstance(index, slice):
            if not -len(self) <= index < len(self):
                raise IndexError(f"There are {len(self)} samples, and none has index {index}.")
            index = slice(index % len(self), index % len(self) + 1)
        return replace(
            self,
            **self._each(lambda tensor: tensor[index]),
            image=None if self.image is None else self.image[index],
            provenance=self.provenance.of(index),
            diagnostics={name: tensor[index] for name, tensor in self.diagnostics.items()},
        )

    def __iter__(self) -> Iterator[Attribution]:
        return (self[i] for i in range(len(self)))

    # heat maps

    @property
    def spatial(self) -> Tensor:
        """(N,C,h,w): the attribution as it lies in the image, at its own resolution."""
        maps = self.values if self.maps is None else self.maps
        if maps.ndim != 4:
            raise NotApplicable(
                f"{self.provenance.method} at {self.provenance.layer} gave values of shape {tuple(maps.shape)}, "
                "which have no place in the image, hence no heat map; read .values, or attribute to a spatial layer."
            )
        return maps

    @property
    def title(self) -> str:
        """The name of the method."""
        return self.provenance.method

    def subject(self, sample: int) -> str:
        """What was explained in a sample: the name or number of its class, or the objective."""
        return self.provenance.subject(sample)

    def heatmap(self, size: int | tuple[int, int] | None = None, percentile: float | None = None) -> Tensor:
        """(N,1,H,W) in [0,1], at the size of the image (of the maps, if there is none) or at `size`.

        Of each sample's sum over channels of |v| (for a CAM: of v), the minimum becomes 0 and the `percentile`-th
        percentile becomes 1: by default the 99th, for a CAM the maximum. A constant map becomes zeros.
        """
        cam = self.reduction == "cam"
        heat = heatmaps.reduce(self.spatial, "all" if cam else "absolute_value")
        if size is None:
            height, width = (heat if self.image is None else self.image).shape[-2:]
            size = (height, width)
        heat = heatmaps.resize(heat, size)
        return heatmaps.normalize(heat, (100 if cam else 99) if percentile is None else percentile)

    @property
    def positive(self) -> Attribution:
        """What speaks for the objective: max(0,v)/max v per sample, channels kept."""
        return self._part("positive")

    @property
    def negative(self) -> Attribution:
        """What speaks against the objective: max(0,-v)/max(-v) per sample, channels kept."""
        return self._part("negative")

    def _part(self, sign: Literal["positive", "negative"]) -> Attribution:
        return replace(
            self,
            **self._each(lambda tensor: heatmaps.part(tensor, sign)),
            provenance=self.provenance.renamed("{}." + sign),
            reduction="magnitude" if self.reduction == "signed" else self.reduction,
            diagnostics={},
        )

    # arithmetic: of raw values, so that a difference of two classes is what speaks for one and against the other

    def __add__(self, other: Attribution) -> Attribution:
        return self._with(other, "+", torch.add) if isinstance(other, Attribution) else NotImplemented

    def __sub__(self, other: Attribution) -> Attribution:
        return self._with(other, "-", torch.sub) if isinstance(other, Attribution) else NotImplemented

    def __mul__(self, factor: float) -> Attribution:
        return self._scaled(factor, f"{factor:g} * {{}}") if isinstance(factor, Real) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Attribution:
        return self._scaled(1 / divisor, f"{{}} / {divisor:g}") if isinstance(divisor, Real) else NotImplemented

    def __neg__(self) -> Attribution:
        return self._scaled(-1, "-{}")

    def _scaled(self, factor: float, form: str) -> Attribution:
        return replace(
            self,
            **self._each(lambda tensor: tensor * factor),
            provenance=self.provenance.renamed(form),
            reduction=self.reduction if factor >= 0 else "signed",
            diagnostics={},
        )

    def _with(self, other: Attribution, sign: str, combine: Callable[[Tensor, Tensor], Tensor]) -> Attribution:
        pairs = {
            "values": (self.values, other.values),
            "maps": (self.maps, other.maps),
            "images": (self.image, other.image),
        }
        for name, (mine, theirs) in pairs.items():
            shapes = [None if tensor is None else tuple(tensor.shape) for tensor in (mine, theirs)]
            if shapes[0] != shapes[1]:
                raise ResultError(
                    f"{self.provenance.method} {sign} {other.provenance.method}: the {name} are {shapes[0]} and "
                    f"{shapes[1]}, but must match; compare heat maps instead, which share the size of the image."
                )
        return replace(
            self,
            values=combine(self.values, other.values),
            maps=None if self.maps is None or other.maps is None else combine(self.maps, other.maps),
            provenance=self.provenance.joined(sign, other.provenance),
            reduction=self.reduction if sign == "+" and self.reduction == other.reduction else "signed",
            diagnostics={},  # a gap or an error estimate of the parts says nothing about the whole
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """The same change to the values and to their spatial view."""
        return {"values": change(self.values), "maps": None if self.maps is None else change(self.maps)}

    # pictures and files

    def show(self, **options: Any) -> Picture:
        """Draw the image and its heat map, one row per sample, with the options of `netlens.show.panel`."""
        from netlens.show import panel  # matplotlib is loaded by those who draw

        return panel([self], **options)

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write a drawing (.png, with the options of `show`) or the raw values (.safetensors, .npz).

        The provenance goes along, in a PNG as a text chunk; `read_provenance` reads it back.
        """
        suffix = Path(path).suffix
        header = {"provenance": asdict(self.provenance), "reduction": self.reduction}
        if suffix == ".png":
            return storage.write(path, self.show(**options).png(header))
        if suffix not in storage.FORMATS:
            raise ResultError(f"{path} should end in .png (a drawing), .safetensors or .npz (the raw values).")
        optional = {"image": self.image, "maps": self.maps}
        tensors = {"values": self.values} | {name: t for name, t in optional.items() if t is not None}
        tensors |= {f"diagnostics.{name}": tensor for name, tensor in self.diagnostics.items()}
        return storage.write(path, storage.pack(suffix, tensors, header))

    @classmethod
    def load(cls, path: str | Path) -> Attribution:
        """Read what `save` wrote as .safetensors or .npz: the same bits, on the CPU."""
        tensors, header = storage.unpack(path)
        if "reduction" not in header:
            raise ResultError(f"{path} holds no attribution.")
        start = "diagnostics."
        return cls(
            values=tensors["values"],
            image=tensors.get("image"),
            provenance=Provenance.from_dict(header["provenance"]),
            maps=tensors.get("maps"),
            reduction=header["reduction"],
            diagnostics={name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)},
        )

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]] | None:
        try:
            return self.show()._repr_jpeg_()
        except NotApplicable:  # values without a place in the image show as their one-line repr
            return None
