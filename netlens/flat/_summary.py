"""The summary of a flat model: a table of its layers, as text or HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from netlens.errors import NetLensError
from netlens.flat._unrolled import Unrolled
from netlens.flat.intake import weight_of
from netlens.flat.layers import Apply, Call, Written
from netlens.flat.receptive import receptive_fields
from netlens.flat.rules import Ruled
from netlens.preprocessing import Preprocessing

_COLUMNS = ("layer", "type", "shape", "parameters", "sees")


@dataclass(frozen=True)
class Row:
    """One layer of a summary.

    Args:
        key: The key of the layer.
        kind: Its type.
        shape: The shape of its output, such as "1x64x56x56".
        parameters: The number of its parameters.
        sees: Its receptive field in pixels: the side and the stride, "all", or "?" if it is unknown.
    """

    key: str
    kind: str
    shape: str
    parameters: int
    sees: str

    def cells(self) -> tuple[str, ...]:
        return self.key, self.kind, self.shape, f"{self.parameters:,}" if self.parameters else "", self.sees


@dataclass(frozen=True)
class Summary:
    """The table of a flat model's layers. It prints as text, and a notebook shows it as HTML."""

    title: str
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        table = [_COLUMNS, *(row.cells() for row in self.rows)]
        widths = [max(len(cells[i]) for cells in table) for i in range(len(_COLUMNS))]
        numeric = {_COLUMNS.index("parameters")}
        lines = [
            "  ".join(
                c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
            )
            for cells in table
        ]
        return "\n".join([self.title, *(line.rstrip() for line in lines)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in _COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in row.cells()) + "</tr>"
            for row in self.rows
        )
        table = f"<table style='font-size:85%'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<b>{escape(self.title)}</b><div style='max-height:30em;overflow:auto'>{table}</div>"


def summarize(flat: Unrolled, expected: Preprocessing, *sizes: tuple[int, ...]) -> Summary:
    """Make the summary of a flat model.

    Args:
        flat: The flat model.
        expected: The preprocessing that gives the default size.
        *sizes: The shape of each input with its batch, such as (1, 3, 224, 224); by default one image.

    Raises:
        NetLensError: The network cannot run on inputs of these sizes, or there is no default size.
    """
    shapes = _shapes(flat, expected, sizes)
    fields = receptive_fields(flat.program)
    rows = tuple(
        Row(
            key=key,
            kind=_kind(layer),
            shape=shapes[key],
            parameters=sum(p.numel() for p in layer.parameters()),
            sees="?" if fields[key] is None else str(fields[key]),
        )
        for key, layer in flat.layers.items()
    )
    total = sum(p.numel() for p in flat.parameters())
    opaque = f", opaque: {', '.join(flat.opaque)}" if flat.opaque else ""
    return Summary(f"{flat.name}: {len(rows)} layers, {total:,} parameters{opaque}", rows)


def _shapes(flat: Unrolled, expected: Preprocessing, sizes: tuple[tuple[int, ...], ...]) -> dict[str, str]:
    """The shape of each layer's output by key, from a run that computes only shapes."""
    if not sizes:
        if expected.size is None:
            raise NetLensError(
                f"{flat.name} takes images of any size; give a size: flat.summary((1, 3, height, width))."
            )
        sizes = ((1, len(expected.mean), *expected.size),)
    if len(sizes) != len(flat.inputs):
        raise NetLensError(
            f"{flat.name} has {len(flat.inputs)} input(s) ({', '.join(flat.inputs)}), but got {len(sizes)} size(s); "
            "give the size of each."
        )
    weight = weight_of(flat, torch.empty(0))

    def run() -> dict[str, str]:
        with torch.no_grad():
            inputs = [torch.zeros(size, dtype=weight.dtype, device=weight.device) for size in sizes]
            values = flat.run(dict(zip(flat.inputs, inputs, strict=True)), list(flat.layers))
            return {key: _shape(value) for key, value in values.items()}

    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return run()
    except Exception as failure:  # some layers need real values, such as opaque ones, and recurrent ones on a GPU
        try:
            return run()
        except Exception as error:  # a layer may raise any error for a size that it does not support
            reason = str(error).split("\n")[0]
            raise NetLensError(
                f"the shapes of {flat.name} are unknown for input {', '.join(map(str, sizes))}: {reason}; "
                "give another size: flat.summary((1, channels, height, width))."
            ) from failure


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return "x".join(map(str, value.shape))
    return f"{len(value)} values" if isinstance(value, (tuple, list, dict)) else type(value).__name__


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, Ruled):
        return f"{_kind(layer.layer)} by rule"
    if isinstance(layer, Call):
        return _kind(layer.module)
    if isinstance(layer, Written):
        return _kind(layer.inner)
    if isinstance(layer, Apply):
        return str(getattr(layer.function, "__name__", type(layer.function).__name__))
    return type(layer).__name__
