"""Frozen results: the values, the explained images, and how the values were computed."""

from netlens.heatmaps import Reduction
from netlens.results._attribution import Attribution
from netlens.results._provenance import Provenance
from netlens.results._render import Render
from netlens.results._state import State
from netlens.results.storage import read_provenance

__all__ = ["Attribution", "Provenance", "Reduction", "Render", "State", "read_provenance"]
