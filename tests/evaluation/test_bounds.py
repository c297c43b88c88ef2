"""The ground-truth scores stay within their bounds, and one sheet of all methods draws.

The scores are those of the scoreboard (docs/scoreboard.md) on its first 20 scenes. A score that leaves its bounds is a
decision: whoever means it writes the new bounds here and the reason into the commit.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netlens import open_network
from netlens.attribution import METHODS, Attribution
from netlens.errors import NetLensWarning, NotApplicable
from netlens.evaluation import EdgeDetector, scoreboard
from netlens.objectives import logit
from netlens.show import panel
from netlens.world.scene import batch, scene
from tests.generated.laws import FEW

SEED, SCENES = 7, 20
OPTIONS = {"integrated_gradients": {"n_steps": 8}, "occlusion": {"window": 32, "stride": 16}}

# The share of positive attribution inside the object: from, to. No method here draws random numbers, so 0.01 either way
# leaves room for rounding and other versions of torch, and for nothing else.
BOUNDS = {
    "shapes": {
        "saliency": (0.380, 0.400),
        "input_x_gradient": (0.486, 0.506),
        "guided_backprop": (0.807, 0.827),
        "grad_cam": (0.515, 0.535),
        "layer_cam": (0.502, 0.522),
        "guided_grad_cam": (0.889, 0.909),
        "full_grad": (0.313, 0.333),
        "integrated_gradients": (0.728, 0.748),
        "deep_lift": (0.796, 0.816),
        "lrp": (0.879, 0.899),
        "excitation_backprop": (0.714, 0.734),
        "occlusion": (0.475, 0.495),
    },
    "shapes_vit": {
        "saliency": (0.329, 0.349),
        "guided_backprop": (0.712, 0.732),
        "layer_cam": (0.487, 0.507),
        "deep_lift": (0.755, 0.775),
        "lrp": (0.891, 0.911),
        "attention_rollout": (0.443, 0.463),
        "gradient_rollout": (0.568, 0.588),
    },
}


@pytest.mark.parametrize("network", BOUNDS)
def test_the_scores_stay_within_their_bounds(network: str) -> None:
    pictures, labels, masks = batch(SEED, SCENES)
    flat = open_network(network)
    x = flat.adapter.preprocessing.normalize(pictures / 255)
    methods = [METHODS[name](**OPTIONS.get(name, {})) for name in BOUNDS[network]]
    scores = {score.method: score.mean for score in scoreboard(flat, x, labels.tolist(), masks, methods)}
    outside = {
        name: (scores[METHODS[name].__name__], bounds)
        for name, bounds in BOUNDS[network].items()
        if not bounds[0] <= scores[METHODS[name].__name__] <= bounds[1]
    }
    assert not outside
    (control,) = scoreboard(flat, x, labels.tolist(), masks, [EdgeDetector()])
    assert control.mean < min(scores.values()), "an edge detector, which sees no network, explains better"


def explained(name: str) -> Attribution:
    """A scene explained by a method with few steps, on the first bundled network to which the method applies."""
    picture = scene(0, label=3).image
    method = METHODS[name](**FEW.get(name, {}))
    for network in ("shapes", "shapes_vit"):
        flat = open_network(network)
        x = flat.adapter.preprocessing(picture).reshape(1, 3, *picture.shape[:2])
        try:
            return method(flat, x, logit(3))
        except NotApplicable:
            continue
    raise AssertionError(f"{name} applies to none of the bundled networks")


def test_a_sheet_of_all_methods_has_no_blank_panel(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NetLensWarning)
        attributions = {name: explained(name) for name in METHODS}
    assert [name for name, attribution in attributions.items() if not attribution.values.isfinite().all()] == []
    sheet = panel(list(attributions.values()), titles=list(attributions), columns=9)
    tiles = [np.asarray(axes.images[0].get_array()) for axes in sheet.axes if axes.images]
    photo, *overlays = tiles
    assert len(overlays) == len(attributions), "the scene stands once, and every method beside it"
    blank = [name for name, tile in zip(attributions, overlays, strict=True) if blank_beside(photo, tile)]
    assert not blank
    (tmp_path / "methods.png").write_bytes(sheet.png())
    with Image.open(tmp_path / "methods.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB"), dtype=float)
    assert pixels.shape == (*sheet.shape, 3)
    for axes in sheet.axes:  # what was placed is what was drawn
        box = axes.get_position()
        height, width = sheet.shape
        rows = slice(round((1 - box.y1) * height), round((1 - box.y0) * height))
        part = pixels[rows, round(box.x0 * width) : round(box.x1 * width)]
        assert part.size and part.std() > 5


def blank_beside(photo: np.ndarray, tile: np.ndarray) -> bool:
    """Whether a tile has one color, or shows the photo alone."""
    return bool(tile[..., :3].std() < 5 or np.array_equal(tile[..., :3], photo[..., :3]))


def test_a_blank_panel_is_seen() -> None:
    photo = np.asarray(scene(0, label=3).image)
    assert blank_beside(photo, np.full_like(photo, 128))
    assert blank_beside(photo, photo.copy())
    assert not blank_beside(photo, photo[::-1])
