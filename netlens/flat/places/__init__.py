"""Places: where in the input the elements of each value lie, from the layers alone, without a run of the network."""

from netlens.flat.places._alive import Alive, alive_before, joined
from netlens.flat.places._follow import Followed, all_followed, followed
from netlens.flat.places._grid import Grid
from netlens.flat.places._places import Coordinates, Places, Raster, Unplaced

__all__ = [
    "Alive",
    "Coordinates",
    "Followed",
    "Grid",
    "Places",
    "Raster",
    "Unplaced",
    "alive_before",
    "all_followed",
    "followed",
    "joined",
]
