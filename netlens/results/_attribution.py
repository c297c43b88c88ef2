"""Attribution: the contribution of each part of an image, with a heatmap, a drawing and a file format."""

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
from netlens.heatmaps import HeatMapped, Reduction, ResultError
from netlens.options import checked
from netlens.results import storage
from netlens.results._provenance import Provenance
from netlens.results._slices import slice_of

if TYPE_CHECKING:
    from netlens.show import Picture


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(HeatMapped):
    """The contribution of each part of an image, or of a layer, to an objective, for N samples.

    Args:
        values: The raw values (N, ...), in the units of the method. They have the shape of the input or of the layer;
            those of class activation maps are (N, 1, h, w).
        image: The explained images (N, C, H, W), volumes or clips (N, C, D, H, W) in [0, 1], or signals (N, C, T); None
            if the input is none of these.
        provenance: The method, the network and the objective.
        maps: The values as maps over the image (N, C, h, w), if `values` have another layout, such as tokens.
        reduction: How values become a heatmap. "magnitude" sums |v| over channels (for gradients). "signed" does the
            same and also draws the sign (for integrated gradients or occlusion). "cam" scales the sum over channels
            from its minimum to its maximum.
        diagnostics: Other numbers (N, ...) by name, such as the completeness gap.

    Raises:
        ResultError: A tensor does not have one row per sample.

    Example:
        >>> origin = Provenance("Saliency", "resnet50", "logit(207)", targets=(207,), target_names=("retriever",))
        >>> a = Attribution(torch.randn(1, 3, 4, 6), torch.rand(1, 3, 4, 6), origin)
        >>> a
        Attribution(Saliency of logit(207) at input of resnet50: (1, 3, 4, 6) float32, magnitude)
        >>> a.heatmap().shape, (a - 0.5 * a).provenance.method
        (torch.Size([1, 1, 4, 6]), 'Saliency - 0.5 * Saliency')
    """

    values: Tensor
    image: Tensor | None
    provenance: Provenance
    maps: Tensor | None = None
    reduction: Reduction = "magnitude"
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked("reduction", self.reduction, Reduction, error=ResultError)
        if self.image is not None:
            if self.image.ndim not in (3, 4, 5):
                raise ResultError(f"image must be (N,C,H,W), (N,C,T) or (N,C,D,H,W), not {tuple(self.image.shape)}.")
            object.__setattr__(self, "image", self.image.detach())
        targets = {"targets": self.provenance.targets, "target_names": self.provenance.target_names}
        tensors: dict[str, Tensor | Sequence[object] | None]
        tensors = {"values": self.values, "maps": self.maps, **targets, **self.diagnostics}
        for name, value in tensors.items():
            count = len(self) if value is None else len(torch.atleast_1d(value) if isinstance(value, Tensor) else value)
            if count != len(self):
                raise ResultError(f"there are {len(self)} images, but {name} for {count}; give one per sample.")

    def __len__(self) -> int:
        return len(self.values if self.image is None else self.image)

    def __repr__(self) -> str:
        origin, dtype = self.provenance, str(self.values.dtype).removeprefix("torch.")
        text = f"{origin.method} of {origin.objective} at {origin.layer} of {origin.network}"
        return f"Attribution({text}: {tuple(self.values.shape)} {dtype}, {self.reduction})"

    def __getitem__(self, index: int | slice) -> Attribution:
        """The attribution of one sample, as a batch of one, or of a slice of the samples."""
        index = slice_of(index, len(self), "samples")
        return replace(
            self,
            **self._mapped(lambda tensor: tensor[index]),
            image=None if self.image is None else self.image[index],
            provenance=self.provenance.of(index),
            diagnostics={name: tensor[index] for name, tensor in self.diagnostics.items()},
        )

    def __iter__(self) -> Iterator[Attribution]:
        return (self[i] for i in range(len(self)))

    # heatmaps

    @property
    def spatial(self) -> Tensor:
        """(N,C,*sides): the values over the image, at their own resolution.

        Raises:
            NotApplicable: The values have no layout over the image.
        """
        maps = self.values if self.maps is None else self.maps
        if maps.ndim != (4 if self.image is None else self.image.ndim):
            raise NotApplicable(
                f"{self.provenance.method} at {self.provenance.layer} gave values of shape {tuple(maps.shape)}, "
                "which have no layout over the image, so there is no heatmap; read .values, or take a layer with maps."
            )
        return maps

    @property
    def title(self) -> str:
        """The name of the method."""
        return self.provenance.method

    def subject(self, sample: int) -> str:
        """The explained class of a sample, by name or number; or the objective if there is no class."""
        return self.provenance.subject(sample)

    def heatmap(self, size: int | tuple[int, ...] | None = None, percentile: float | None = None) -> Tensor:
        """(N,1,H,W) in [0,1]: the sum over channels of |v|, or of v for a class activation map, scaled per sample.

        That of a signal is (N,1,T), and that of a volume or a clip (N,1,D,H,W).

        The minimum becomes 0, and the percentile becomes 1. A constant map becomes zeros.

        Args:
            size: (height, width) in pixels, or one number for all sides; None for the size of the image, or of the maps
                if there is no image.
            percentile: From 0 to 100; None for 99, or for 100 (the maximum) of a class activation map.

        Raises:
            NotApplicable: The values have no layout over the image.
            NonFiniteError: The values hold NaN or Inf.
        """
        cam = self.reduction == "cam"
        heat = heatmaps.reduce(self.spatial, "all" if cam else "absolute_value")
        if size is None:
            size = tuple((heat if self.image is None else self.image).shape[2:])
        heat = heatmaps.resize(heat, size)
        return heatmaps.normalize(heat, (100 if cam else 99) if percentile is None else percentile)

    @property
    def positive(self) -> Attribution:
        """The contributions that raise the objective, scaled per sample: max(0,v)/max v. It keeps the channels."""
        return self._sign_part("positive")

    @property
    def negative(self) -> Attribution:
        """The contributions that lower the objective, scaled per sample: max(0,-v)/max(-v). It keeps the channels."""
        return self._sign_part("negative")

    def _sign_part(self, sign: Literal["positive", "negative"]) -> Attribution:
        return replace(
            self,
            **self._mapped(lambda tensor: heatmaps.part(tensor, sign)),
            provenance=self.provenance.renamed("{}." + sign),
            reduction="magnitude" if self.reduction == "signed" else self.reduction,
            diagnostics={},
        )

    # arithmetic of raw values: the difference of two classes shows what supports one class and not the other

    def __add__(self, other: Attribution) -> Attribution:
        return self._with(other, "+", torch.add) if isinstance(other, Attribution) else NotImplemented

    def __sub__(self, other: Attribution) -> Attribution:
        return self._with(other, "-", torch.sub) if isinstance(other, Attribution) else NotImplemented

    def __mul__(self, factor: float) -> Attribution:
        if not isinstance(factor, Real):
            return NotImplemented
        return self._scaled(factor, f"{factor:g} * {{}}")

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Attribution:
        if not isinstance(divisor, Real):
            return NotImplemented
        return self._scaled(1 / divisor, f"{{}} / {divisor:g}")

    def __neg__(self) -> Attribution:
        return self._scaled(-1, "-{}")

    def _scaled(self, factor: float, form: str) -> Attribution:
        return replace(
            self,
            **self._mapped(lambda tensor: tensor * factor),
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
        for name, tensors in pairs.items():
            shapes = [None if tensor is None else tuple(tensor.shape) for tensor in tensors]
            if shapes[0] != shapes[1]:
                raise ResultError(
                    f"{self.provenance.method} {sign} {other.provenance.method}: the {name} are {shapes[0]} and "
                    f"{shapes[1]}, but must match; compare heatmaps instead, which share the size of the image."
                )
        return replace(
            self,
            values=combine(self.values, other.values),
            maps=None if self.maps is None or other.maps is None else combine(self.maps, other.maps),
            provenance=self.provenance.joined(sign, other.provenance),
            reduction=self.reduction if sign == "+" and self.reduction == other.reduction else "signed",
            diagnostics={},  # the gap of a sum does not follow from the gaps of its terms
        )

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """The values and the maps, each changed by `change`."""
        return {"values": change(self.values), "maps": None if self.maps is None else change(self.maps)}

    # pictures and files

    def show(self, **options: Any) -> Picture:
        """Draw each image beside its heatmap, one row per sample. The options are those of `netlens.show.panel`."""
        from netlens.show import panel  # matplotlib loads only when something is drawn

        return panel([self], **options)

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write a drawing (.png), a film (.gif) or the raw values (.safetensors, .npz), with the provenance inside.

        `read_provenance` reads the provenance of each of these files. A film shows the slices of a volume or clip.

        Args:
            path: The file; its suffix chooses the format.
            options: The options of `show`, for a drawing; those of `netlens.show.film`, for a film.

        Raises:
            ResultError: The path has another suffix, or the file cannot be written.
        """
        suffix = Path(path).suffix
        header = {"provenance": asdict(self.provenance), "reduction": self.reduction}
        if suffix == ".png":
            return storage.write(path, self.show(**options).png(header))
        if suffix == ".gif":
            from netlens.show import film  # matplotlib loads only when something is drawn

            return storage.write(path, film([self], header=header, **options))
        if suffix not in storage.FORMATS:
            raise ResultError(
                f"{path} must end in .png (a drawing), .gif (a film), .safetensors or .npz (the raw values)."
            )
        optional = {"image": self.image, "maps": self.maps}
        tensors = {"values": self.values} | {name: t for name, t in optional.items() if t is not None}
        tensors |= {f"diagnostics.{name}": tensor for name, tensor in self.diagnostics.items()}
        return storage.write(path, storage.pack(suffix, tensors, header))

    @classmethod
    def load(cls, path: str | Path) -> Attribution:
        """Read a file that `save` wrote as .safetensors or .npz: the same bits, on the CPU.

        Raises:
            ResultError: The file does not exist, is damaged, or holds no attribution.
        """
        tensors, header = storage.unpack(path)
        if "reduction" not in header:
            raise ResultError(f"{path} holds no attribution.")
        prefix = "diagnostics."
        return cls(
            values=tensors["values"],
            image=tensors.get("image"),
            provenance=Provenance.from_dict(header["provenance"]),
            maps=tensors.get("maps"),
            reduction=header["reduction"],
            diagnostics={name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)},
        )

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]] | None:
        try:
            return self.show()._repr_jpeg_()
        except NotApplicable:  # a notebook then shows the one-line repr
            return None
