"""Studies: what a person works out with several rooms, such as the explanations of a data set."""

from netlens.studies._attributions import Attributions
from netlens.studies._summary import AttributionSummary, ByClass, Voice

__all__ = ["AttributionSummary", "Attributions", "ByClass", "Voice"]
