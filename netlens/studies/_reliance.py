"""Reliance: what a network relies on for a class, as clusters of the regions that speak most for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.attribution.method import method_from
from netlens.errors import NetLensError
from netlens.extras import extra
from netlens.flat import FlatModel
from netlens.objectives.classes import classes_of
from netlens.options import checked
from netlens.preprocessing import Preprocessing
from netlens.studies._regions import CROP, Regions
from netlens.studies._stored import Stored
from netlens.survey import State, Survey, SurveyResult

if TYPE_CHECKING:
    from netlens.show import Picture

_CROPS = 24
"""How many cut-out pictures of a cluster are kept."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """Regions of several pictures in which the layer has about the same activation.

    Attributes:
        score: `relevance` times `uniformity`, or 0 if the uniformity is below 0. The first cluster has the highest one.
        relevance: The share of the relevance of all regions that these regions carry.
        uniformity: The mean cosine of all pairs of their activations, which are standardized by channel: about 0 for
            random places, 1 for equal ones.
        coverage: The share of the pictures of the class that have such a region.
        names: (n,): the picture of each region, strongest first.
        places: (n, 2): its row and column in the maps of the layer.
        shares: (n,), float64: its share of the positive relevance of its picture.
        crops: (k, 3, 48, 48), uint8: the pictures around the first regions.
    """

    score: float
    relevance: float
    uniformity: float
    coverage: float
    names: tuple[str, ...]
    places: Tensor
    shares: Tensor
    crops: Tensor

    def __len__(self) -> int:
        """The number of regions."""
        return len(self.names)


@dataclass(frozen=True, eq=False, repr=False)
class Reliance(Stored):
    """What a network relies on for a class.

    Attributes:
        network: The name of the network.
        label: The class.
        name: The name of the class.
        layer: The layer whose activations were clustered.
        method: The method that found the regions.
        pictures: The number of pictures of the class.
        clusters: The clusters, highest score first.
    """

    parts: ClassVar[tuple[type, ...]] = (Cluster,)

    network: str
    label: int
    name: str
    layer: str
    method: str
    pictures: int
    clusters: tuple[Cluster, ...]

    def show(self, k: int = 10) -> Picture:
        """Draw the first k regions of each cluster, one row per cluster.

        Args:
            k: The number of regions, at least 1.
        """
        from netlens.show import Picture

        k = checked("k", k, int, least=1)
        side, gap = 96, 8
        across = min(k, max(len(cluster.crops) for cluster in self.clusters))
        picture = Picture(max(900, 40 + across * (side + gap)), 60 + len(self.clusters) * (side + 56))
        heading = f"what {self.network} relies on for {self.name} ({self.pictures:,} pictures, {self.layer})"
        picture.write(heading, 20, 16, 18, picture.shape[1] - 40)
        for row, cluster in enumerate(self.clusters):
            y = 60 + row * (side + 56)
            text = (
                f"{row + 1}: score {cluster.score:.2f}, {cluster.relevance:.0%} of the relevance, uniformity "
                f"{cluster.uniformity:.2f}, in {cluster.coverage:.0%} of the pictures"
            )
            picture.write(text, 20, y, 17, picture.shape[1] - 40)
            for column, crop in enumerate(cluster.crops[:across]):
                pixels = torch.cat([crop, torch.full_like(crop[:1], 255)]).permute(1, 2, 0)
                pixels = pixels.repeat_interleave(side // CROP, 0).repeat_interleave(side // CROP, 1)
                picture.place(pixels.numpy(), 20 + column * (side + gap), y + 28)
        return picture


def reliance(
    flat: FlatModel,
    data: Any,
    label: int | str,
    layer: str,
    *,
    method: str = "input_x_gradient",
    each: int = 3,
    clusters: int = 6,
    samples: int = 512,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    workers: int = 0,
    progress: bool = True,
) -> Reliance:
    """Find what a network relies on for a class: its object, or a watermark, or a background.

    Each picture of the class is explained for the class, at the layer. Its strongest places that do not touch are its
    regions. The activations at all regions are standardized by channel, with the mean and the deviation over all places
    of these pictures, scaled to length 1, and clustered by k-means. Clusters are ranked by

        score = share of the relevance × mean cosine of all pairs.

    An object that changes its color, position and background gives several clusters that are loose. Something that is
    the same in each picture, and on which the network relies, gives one that is tight and carries much. So a high score
    says "look at this first", and not that it is wrong.

    Args:
        flat: The network.
        data: What a survey takes, with labels.
        label: The class, by index or name.
        layer: The layer, by any name. It should have places smaller than what is looked for.
        method: The method by name, which must give contributions at the layer.
        each: The number of regions of a picture, at least 1.
        clusters: The largest number of clusters, at least 1.
        samples: The largest number of pictures, chosen by a hash of seed and number; at least 2.
        seed: The seed of the choice of pictures, and of k-means.
        preprocessing: How a picture becomes an input; None for that of the network.
        workers: The number of processes; 0 for this one. They change nothing but the time.
        progress: Whether a terminal shows a progress bar.

    Raises:
        NetLensError: No picture is of this class, none has a region, or scikit-learn is missing.
        NotApplicable: The layer has no layout over the image.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> data = [(scene(i, 64, label=3).image, 3) for i in range(3)]
        >>> small = {"each": 2, "clusters": 2, "progress": False}
        >>> answer = reliance(open_network(), data, "striped square", "trunk_output.block2", **small)
        >>> answer.pictures, sum(len(cluster) for cluster in answer.clusters)
        (3, 6)

    Lapuschkin et al. 2019, https://arxiv.org/abs/1902.10178, cluster whole heatmaps; Achtibat et al. 2023,
    https://arxiv.org/abs/2206.03208, look at the regions of channels.
    """
    checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
    each, clusters = checked("each", each, int, least=1), checked("clusters", clusters, int, least=1)
    samples = checked("samples", samples, int, least=2)
    seed = checked("seed", seed, int, least=0, most=2**31 - 1)
    method_from(method)  # a wrong name raises here, and not after a long run
    with extra("atlas", "clusters of regions need scikit-learn"):
        import sklearn  # noqa: F401 - told now, and not when all regions are there
    index = classes_of(label, flat, 1)[0]
    name = f"class {index}" if flat.classes is None else flat.classes[index]
    question = Regions(flat.key(layer), index, method, each, samples, seed)
    result = Survey(flat, data, [question], workers=workers, preprocessing=preprocessing, progress=progress).run()
    state: State = result.answer(question)
    if not state or len(state["shares"]) == 0:
        raise NetLensError(
            f"no picture of {name} has a region that speaks for it; the class of a picture is its label."
        )
    groups = _clustered(standardized(state), clusters, seed)
    all_clusters = [_cluster(state, group, result) for group in groups]
    ranked = sorted(all_clusters, key=lambda cluster: -cluster.score)
    pictures = len(state["samples"].unique())
    return Reliance(flat.name, index, name, question.layer, method, pictures, tuple(ranked))


def standardized(state: State) -> Tensor:
    """(n, C), float64: the activations, standardized by channel and of length 1."""
    mean = state["sums"] / state["count"]
    deviation = (state["squares"] / state["count"] - mean.square()).clamp(min=0).sqrt()
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return F.normalize((state["vectors"].double() - mean) / deviation, dim=1)


def _clustered(vectors: Tensor, clusters: int, seed: int) -> list[Tensor]:
    """The rows of each cluster."""
    from sklearn.cluster import KMeans

    clusters = min(clusters, len(vectors.unique(dim=0)))
    labels = torch.from_numpy(KMeans(clusters, n_init=10, random_state=seed).fit_predict(vectors.numpy()))
    return [(labels == cluster).nonzero()[:, 0] for cluster in range(clusters)]


def _cluster(state: State, rows: Tensor, result: SurveyResult) -> Cluster:
    shares, samples = state["shares"][rows], state["samples"][rows]
    uniformity = uniformity_of(standardized(state)[rows])
    relevance = float(shares.sum() / state["shares"].sum())
    order = rows[shares.argsort(descending=True, stable=True)]
    return Cluster(
        score=relevance * max(0.0, uniformity),
        relevance=relevance,
        uniformity=uniformity,
        coverage=len(samples.unique()) / len(state["samples"].unique()),
        names=tuple(result.names[sample] for sample in state["samples"][order].tolist()),
        places=state["places"][order],
        shares=state["shares"][order],
        crops=state["crops"][order[:_CROPS]],
    )


def uniformity_of(vectors: Tensor) -> float:
    """The mean cosine of all pairs of vectors (n, C) of length 1; 0 for a single one, which is no pattern.

    >>> uniformity_of(torch.tensor([[1.0, 0], [1, 0], [0, 1]]))
    0.3333333333333333
    """
    n = len(vectors)
    if n < 2:
        return 0.0
    return float((vectors.double().sum(0).square().sum() - vectors.double().square().sum()) / (n * (n - 1)))
