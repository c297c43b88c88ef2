"""Superpixels: regions of a picture with similar color."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.attribution._picture import drawn
from netlens.errors import NotApplicable
from netlens.extras import extra
from netlens.flat import FlatModel
from netlens.flat.bundle import first_input
from netlens.options import checked


def superpixels(flat: FlatModel, x: Tensor, n_segments: int = 50, wrt: str | None = None) -> Tensor:
    """About `n_segments` superpixels of each picture, as a feature mask (N, 1, H, W) of integers.

    SLICO finds them on the pictures without preprocessing, as a person sees them. The superpixels of each picture are
    numbered from 0. This needs scikit-image: pip install 'netlens[superpixels]'.

    Args:
        flat: The network, whose adapter knows the preprocessing.
        x: The pictures (N, 1 or 3, H, W), as the network reads them.
        n_segments: About how many superpixels a picture has, at least 1.
        wrt: The input that x is, for a network of several inputs; None for the first one.

    Raises:
        NotApplicable: `x` holds no pictures, or scikit-image is missing.

    Example:
        >>> from netlens import open_network
        >>> mask = superpixels(open_network(), torch.rand(1, 3, 64, 64), n_segments=12)
        >>> mask.shape, int(mask.min())
        (torch.Size([1, 1, 64, 64]), 0)

    Achanta et al. 2012, https://doi.org/10.1109/TPAMI.2012.120
    """
    checked("n_segments", n_segments, int, least=1)
    pictures = drawn(flat, first_input(flat) if wrt is None else wrt, x)
    if pictures is None or pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        raise NotApplicable(f"superpixels need pictures (N, 1 or 3, H, W), not {tuple(x.shape)}; give a feature_mask.")
    instead = "give a feature_mask, such as attribution.patches(height, width, n_segments)"
    with extra("superpixels", "superpixels need scikit-image", instead, NotApplicable):
        from skimage.segmentation import slic
    # slic_zero adapts the weight of distance to the contrast of each superpixel. With one weight for all and 50
    # segments, a textured photograph gives 23 superpixels and noise a single one. A gray picture becomes a color one.
    colors = pictures.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().double().numpy()
    labels = [slic(image, n_segments, slic_zero=True, start_label=0, channel_axis=-1) for image in colors]
    return torch.stack([torch.from_numpy(label).long() for label in labels])[:, None].to(x.device)
