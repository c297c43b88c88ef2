"""Studies: what a person works out with several rooms, such as the explanations of a data set, or two networks."""

from netlens.studies._atlas import AtlasSheet, DatasetAtlas, dataset_atlas
from netlens.studies._attributions import Attributions
from netlens.studies._compare import compare
from netlens.studies._comparison import Comparison, LayerPair
from netlens.studies._landscape import Landscape, landscape
from netlens.studies._reliance import Cluster, Reliance, reliance
from netlens.studies._summary import AttributionSummary, ByClass, Voice

__all__ = [
    "AtlasSheet",
    "AttributionSummary",
    "Attributions",
    "ByClass",
    "Cluster",
    "Comparison",
    "DatasetAtlas",
    "Landscape",
    "LayerPair",
    "Reliance",
    "Voice",
    "compare",
    "dataset_atlas",
    "landscape",
    "reliance",
]
