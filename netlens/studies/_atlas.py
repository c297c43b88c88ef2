"""The atlas of a data set: what a layer sees in it, as pictures of averaged activations on a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.running import differentiating
from netlens.objectives import direction
from netlens.objectives.classes import classes_of
from netlens.options import checked
from netlens.preprocessing import Preprocessing
from netlens.results import storage
from netlens.studies._atlas_page import page_of
from netlens.studies._layout import laid_out, require_umap
from netlens.studies._stored import Stored
from netlens.studies._vectors import Vectors
from netlens.survey import State, Survey
from netlens.visualization import Fourier, OptVis

if TYPE_CHECKING:
    from netlens.show import Picture

_SHRINKAGE = 0.05
"""The share of a multiple of the identity in the matrix that is inverted, so that rare directions do not win."""


@dataclass(frozen=True, eq=False)
class AtlasSheet:
    """The cells of all pictures, or of those of one class.

    Attributes:
        title: What it shows.
        cells: (k, 2): the row and the column of each cell that holds enough pictures.
        count: (k,): the number of pictures in it.
        captions: (k,): the classes that occur most often in it.
        pictures: (k, 3, s, s), uint8: what the mean activation of the cell stands for.
    """

    title: str
    cells: Tensor
    count: Tensor
    captions: tuple[str, ...]
    pictures: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class DatasetAtlas(Stored):
    """What a layer sees in a data set.

    Attributes:
        network: The name of the network.
        layer: The key of the layer.
        layout: How the plane was made.
        side: The number of cells along each side of the plane.
        samples: (n,): the numbers of the pictures, ascending.
        labels: (n,): their classes; -1 where there is none.
        predicted: (n,): what the network predicts; -1 if it predicts no classes.
        places: (n, 2): the place in the maps of the layer at which the activation was read.
        points: (n, 2), float64, from 0 to 1: where each of them lies in the plane, across and down.
        sheets: All pictures, and then the classes that were asked for.
    """

    parts: ClassVar[tuple[type, ...]] = (AtlasSheet,)

    network: str
    layer: str
    layout: str
    side: int
    samples: Tensor
    labels: Tensor
    predicted: Tensor
    places: Tensor
    points: Tensor
    sheets: tuple[AtlasSheet, ...]

    def image(self, sheet: int = 0) -> Tensor:
        """(3, side · s, side · s), uint8: the cells of a sheet in their places, on white."""
        shown = self.sheets[sheet]
        size = shown.pictures.shape[-1]
        canvas = torch.full((3, self.side * size, self.side * size), 255, dtype=torch.uint8)
        for (row, column), one in zip(shown.cells.tolist(), shown.pictures, strict=True):
            canvas[:, row * size : (row + 1) * size, column * size : (column + 1) * size] = one
        return canvas

    def show(self, sheet: int = 0) -> Picture:
        """Draw a sheet: 0 is that of all pictures."""
        from netlens.show import Picture

        image = self.image(sheet)
        pixels = torch.cat([image, torch.full_like(image[:1], 255)]).permute(1, 2, 0)
        scale = max(1, -(-600 // len(pixels)))
        pixels = pixels.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        picture = Picture(pixels.shape[1] + 40, pixels.shape[0] + 80)
        title = f"{self.layer} of {self.network} over {len(self.samples):,} pictures: {self.sheets[sheet].title}"
        picture.write(title, 20, 16, 22, pixels.shape[1])
        picture.place(pixels.numpy(), 20, 60)
        return picture

    def save(self, path: str | Path) -> Path:
        """Write the drawing (.png), a page that one can zoom (.html), or everything (.safetensors), which `load` reads.

        The page is one file and asks for nothing else.

        Raises:
            ResultError: The path has another suffix, or the file cannot be written.
        """
        if Path(path).suffix.lower() != ".html":
            return super().save(path)
        title = f"{self.layer} of {self.network}"
        note = f"{len(self.samples):,} pictures, one random place of each, laid out by {self.layout.upper()}"
        sheets = [
            {
                "title": one.title,
                "cells": one.cells.tolist(),
                "count": one.count.tolist(),
                "captions": list(one.captions),
                "size": one.pictures.shape[-1],
            }
            for one in self.sheets
        ]
        page = page_of(title, note, self.side, sheets, [one.pictures for one in self.sheets])
        return storage.write(path, page.encode())


@differentiating()
def dataset_atlas(
    flat: FlatModel,
    data: Any,
    layer: str,
    *,
    classes: Sequence[int | str] = (),
    samples: int = 2000,
    cells: int = 12,
    least: int = 3,
    layout: str = "pca",
    whiten: bool = True,
    steps: int = 128,
    cell_size: int = 64,
    cosine_power: float = 1.0,
    chunk: int = 16,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    workers: int = 0,
    progress: bool = True,
) -> DatasetAtlas:
    """Draw what a layer sees in a data set.

    The activation at one random place of each picture is a point of a plane, on which like lies beside like. The plane
    is cut into cells. The mean activation v of the points in a cell is drawn by the renderer: a picture that excites
    the direction S v, where S is the inverse of the mean product of two channels over all these activations. So what is
    common to all activations does not dominate each picture.

    Args:
        flat: The network.
        data: What a survey takes.
        layer: The layer, by any name.
        classes: Classes by index or name, each of which gets a sheet of its own: the same plane and cells, but the mean
            of the pictures with this label alone.
        samples: The largest number of pictures, chosen by a hash of seed and number; at least 4.
        cells: The number of cells along each side, at least 1.
        least: The number of points that a cell needs, at least 1.
        layout: "pca", or "umap", which needs umap-learn (`netlens[umap]`).
        whiten: Whether to take S v; else v itself.
        steps: The steps of the renderer, at least 1.
        cell_size: The side of each picture in pixels, at least 16.
        cosine_power: How much the direction of an activation counts; see `objectives.direction`.
        chunk: How many pictures are made at a time.
        seed: For the choice of pictures and places, UMAP, and the noise that pictures start from.
        preprocessing: How a picture becomes an input; None for that of the network.
        workers: The number of processes of the survey; 0 for this one. They change nothing but the time.
        progress: Whether a terminal shows progress bars.

    Raises:
        NetLensError: There are too few pictures for any cell, or umap-learn is missing.
        NotApplicable: The layer has no layout over the image, or its activations are all 0.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> data = [(scene(i, 64).image, 0) for i in range(6)]
        >>> small = {"cells": 2, "least": 2, "steps": 1, "cell_size": 32, "progress": False}
        >>> atlas = dataset_atlas(open_network(), data, "trunk_output.block2", **small)
        >>> atlas.image().shape
        torch.Size([3, 64, 64])

    Carter et al. 2019, https://distill.pub/2019/activation-atlas/
    """
    checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
    samples, cells = checked("samples", samples, int, least=4), checked("cells", cells, int, least=1, most=200)
    least, steps = checked("least", least, int, least=1), checked("steps", steps, int, least=1)
    cell_size, chunk = checked("cell_size", cell_size, int, least=16), checked("chunk", chunk, int, least=1)
    seed = checked("seed", seed, int, least=0, most=2**31 - 1)
    if layout not in ("pca", "umap"):
        raise NetLensError(f"layout is {layout!r}, but must be 'pca' or 'umap'.")
    if layout == "umap":
        require_umap()
    chosen = [(index, _name(flat, index)) for index in (classes_of(one, flat, 1)[0] for one in classes)]
    key = flat.key(layer)
    question = Vectors(key, samples, seed)
    result = Survey(flat, data, [question], workers=workers, preprocessing=preprocessing, progress=progress).run()
    state: State = result.answer(question)
    if not state or len(state["samples"]) < 2:
        raise NetLensError(f"an atlas needs two pictures that can be read, and better some hundreds; see {layer!r}.")
    vectors = state["vectors"].double()
    if not vectors.any():
        raise NotApplicable(f"layer {key!r} of {flat.name} is 0 at all places that were read; choose another layer.")
    points = laid_out(vectors, layout, seed)
    rows = (points[:, 1] * cells).long().clamp(max=cells - 1) * cells + (points[:, 0] * cells).long().clamp(
        max=cells - 1
    )
    inverse = whitening(vectors) if whiten else None
    render = {"steps": steps, "progress": progress}
    sheets = []
    for label, title in [(None, "all pictures"), *chosen]:
        of = torch.ones(len(rows), dtype=torch.bool) if label is None else state["labels"] == label
        occupied, index, count = rows[of].unique(return_inverse=True, return_counts=True)
        sums = torch.zeros(len(occupied), vectors.shape[1], dtype=torch.float64).index_add_(0, index, vectors[of])
        means = sums / count[:, None]
        drawn = ((count >= least) & means.any(1)).nonzero()[:, 0]
        directions = means[drawn] if inverse is None else means[drawn] @ inverse
        pictures = _rendered(
            flat, key, F.normalize(directions, dim=1).float(), cell_size, seed, cosine_power, chunk, render
        )
        labels = state["labels"] if (state["labels"] >= 0).any() else state["predicted"]
        captions = tuple(_caption(flat, labels[of][index == cell]) for cell in drawn.tolist())
        places = torch.stack([occupied[drawn] // cells, occupied[drawn] % cells], 1)
        sheets.append(AtlasSheet(title, places, count[drawn], captions, pictures))
    if not len(sheets[0].cells):
        raise NetLensError(
            f"no cell holds {least} of the {len(rows)} pictures; give more pictures, fewer cells= or a smaller least=."
        )
    kept_names = {name: state[name] for name in ("samples", "labels", "predicted", "places")}
    return DatasetAtlas(flat.name, key, layout, cells, points=points, sheets=tuple(sheets), **kept_names)


def whitening(vectors: Tensor) -> Tensor:
    """(C, C), float64: the inverse of the mean product of channels, with a share of the identity."""
    products = vectors.T @ vectors / len(vectors)
    channels = len(products)
    identity = torch.eye(channels, dtype=torch.float64) * products.trace() / channels
    inverse: Tensor = torch.linalg.inv((1 - _SHRINKAGE) * products + _SHRINKAGE * identity)
    return inverse


def _rendered(
    flat: FlatModel,
    key: str,
    directions: Tensor,
    size: int,
    seed: int,
    cosine_power: float,
    chunk: int,
    render: dict[str, Any],
) -> Tensor:
    """(k, 3, size, size), uint8: a picture of each direction (k, C)."""
    pictures = [torch.zeros(0, 3, size, size)]
    for part in directions.split(chunk) if len(directions) else ():
        vis = OptVis(flat, direction(key, part, cosine_power=cosine_power))
        images = vis.render(Fourier(size, batch=len(part), seed=(seed,) * len(part)), **render).images
        pictures.append(images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images)
    return (torch.cat(pictures) * 255).round().clamp(0, 255).to(torch.uint8)


def _name(flat: FlatModel, label: int) -> str:
    has_name = flat.classes is not None and 0 <= label < len(flat.classes)
    return flat.classes[label] if flat.classes is not None and has_name else f"class {label}"


def _caption(flat: FlatModel, labels: Tensor) -> str:
    """The two classes that occur most often, of equal ones the lower; empty without classes."""
    classes, count = labels[labels >= 0].unique(return_counts=True)
    order = count.argsort(descending=True, stable=True)[:2]
    return ", ".join(f"{_name(flat, int(classes[i]))} {int(count[i])}" for i in order)
