"""`make matrix`: networks of several collections, each beside its flat model.

Every network gets random weights and batch norm statistics, so that nothing is hidden by zeros and ones.
"""

from benchmarks.matrix._collections import COLLECTIONS, Collection, subjects_of
from benchmarks.matrix._measure import measure
from benchmarks.matrix._row import Answer, Row
from benchmarks.matrix._subject import Built, Subject
from benchmarks.matrix._tables import SUMMARY, summary, with_methods

__all__ = [
    "COLLECTIONS",
    "SUMMARY",
    "Answer",
    "Built",
    "Collection",
    "Row",
    "Subject",
    "measure",
    "subjects_of",
    "summary",
    "with_methods",
]
