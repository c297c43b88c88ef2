"""Frozen results: what was computed, about which images, and how."""

from netlens.results.attribution import Attribution, Reduction
from netlens.results.provenance import Provenance
from netlens.results.storage import read_provenance

__all__ = ["Attribution", "Provenance", "Reduction", "read_provenance"]
