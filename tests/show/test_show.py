"""Drawing: pixels lie where the object is, colors mean what they say, and nothing is cut off."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch

from netlens.errors import NetLensError
from netlens.results import Attribution, Provenance
from netlens.show import Look, overlay, panel
from netlens.show._overlay import (
    LARGEST,
    photograph,
)

SIZE = (40, 100)  # drawn four times as large
STYLES = ("heat_map", "blended_heat_map", "masked_image", "alpha_scaling")
SIGNS = ("all", "positive", "negative", "absolute_value")


def explain(values, image=None, reduction="magnitude", method="Saliency", **names):
    n = len(values)
    image = torch.full((n, 3, *SIZE), 0.5) if image is None else image
    names = names or {"target_names": tuple(f"thing {i}" for i in range(n))}
    return Attribution(values, image, Provenance(method, "resnet50", "logit(0)", **names), reduction=reduction)


def one_hot(y, x, value=1.0):
    values = torch.zeros(1, 3, *SIZE)
    values[0, 1, y, x] = value
    return values


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("reduction", ["magnitude", "signed"])
@pytest.mark.parametrize(("y", "x"), [(0, 0), (39, 99), (7, 61), (0, 99)])
def test_a_lit_pixel_is_drawn_where_it_is(style, reduction, y, x):
    look = Look(style=style)
    lit = overlay(explain(one_hot(y, x), reduction=reduction), look)[0].astype(int)
    unlit = overlay(explain(one_hot(y, x, 0.0), reduction=reduction), look)[0].astype(int)
    times = 4
    assert lit.shape == (SIZE[0] * times, SIZE[1] * times, 4)
    expected = np.zeros(lit.shape[:2], dtype=bool)
    expected[y * times : (y + 1) * times, x * times : (x + 1) * times] = True
    assert np.array_equal((lit != unlit).any(axis=-1), expected)


@pytest.mark.parametrize("colorbar", [False, True])
def test_the_rendered_figure_holds_overlays_to_the_pixel(colorbar):
    image = torch.rand(2, 3, *SIZE)
    a = explain(torch.randn(2, 3, *SIZE), image)
    figure = panel([a], colorbar=colorbar)
    drawn = figure.rgba()
    assert drawn.shape[:2] == figure.shape
    for tile in (*photograph(image), *overlay(a)):
        height, width = tile.shape[:2]
        windows = np.lib.stride_tricks.sliding_window_view(drawn[..., 0], (1, width))[:, :, 0]
        rows, columns = np.nonzero((windows == tile[0, :, 0]).all(axis=-1))
        assert len(rows) > 0
        crops = [drawn[y : y + height, x : x + width] for y, x in zip(rows, columns, strict=True)]
        assert any(np.array_equal(crop, tile) for crop in crops)


def test_a_cam_peaks_over_the_center_of_its_cell():
    cam = torch.zeros(1, 1, 4, 5)
    cam[0, 0, 1, 3] = 1
    drawn = overlay(explain(cam, reduction="cam"), Look(style="alpha_scaling"))[0, ..., 3].astype(float)
    ys, xs = np.indices(drawn.shape) + 0.5
    assert (ys * drawn).sum() / drawn.sum() == pytest.approx((1 + 0.5) / 4 * 160, abs=0.1)
    assert (xs * drawn).sum() / drawn.sum() == pytest.approx((3 + 0.5) / 5 * 400, abs=0.1)


def test_drawn_colors_are_those_of_the_heat_map():
    a = explain(torch.randn(1, 3, *SIZE))
    expected = mpl.colormaps["gray"](a.heatmap()[0, 0].numpy())[..., 0]
    drawn = overlay(a, Look(cmap="gray"))[0, ::4, ::4, 0]
    assert np.abs(drawn / 255 - expected).max() < 0.01


def test_zero_is_the_middle_of_a_diverging_map():
    values = one_hot(3, 5, 2.0) - one_hot(9, 9, 1.0)
    drawn = overlay(explain(values, reduction="signed"), Look(style="heat_map"))[0, 2::4, 2::4, :3]
    colors = mpl.colormaps["bwr"]([0.5, 1.0, 0.25])[:, :3] * 255
    for place, color in zip([(0, 0), (3, 5), (9, 9)], colors, strict=True):
        assert np.abs(drawn[place] - color).max() <= 2


@pytest.mark.parametrize(
    ("sign", "lit"), [("all", {1, 2}), ("positive", {1}), ("negative", {2}), ("absolute_value", {1, 2})]
)
def test_signs_show_what_they_name(sign, lit):
    values = one_hot(1, 1, 3.0) - one_hot(2, 2, 1.0)
    a = explain(values, reduction="signed")
    look = Look(style="alpha_scaling", sign=sign)
    assert {y for y in (0, 1, 2) if overlay(a, look)[0, y * 4, y * 4, 3] > 0} == lit


def test_outliers_saturate():
    values = torch.zeros(1, 1, *SIZE)
    values[0, 0].view(-1)[:100] = torch.arange(1.0, 101.0)  # 2.5% of the pixels
    drawn = [overlay(explain(values), Look(cmap="gray", outlier_perc=p))[0, 0, ::4, 0] for p in (0, 1, 2)]
    assert [int((row == 255).sum()) for row in drawn] == sorted(int((row == 255).sum()) for row in drawn)
    assert (drawn[0] == 255).sum() == 1
    assert (drawn[1] == 255).sum() == pytest.approx(40, abs=1)


def test_a_shared_scale_is_one_scale():
    weak, strong = one_hot(5, 5, 1.0), one_hot(5, 5, 4.0)
    attributions = [explain(values, reduction=kind) for values in (weak, strong) for kind in ("magnitude", "signed")]
    look = {"style": "heat_map", "cmap": "gray", "original": False}

    def lit(figure):
        return [int(axes.images[0].get_array()[5 * 4, 5 * 4, 0]) for axes in figure.axes]

    assert lit(panel(attributions, **look)) == [255, 255, 255, 255]
    shared = lit(panel(attributions, scale="shared", **look))
    assert shared == pytest.approx([64, 159, 255, 255], abs=1)  # 1/4 of [0, 4]; 5/8 of [-4, 4]


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_each_tile_says_what_it_is():
    a = explain(torch.randn(1, 3, *SIZE), target_names=("great grey owl, Strix nebulosa",))
    b = explain(torch.randn(1, 1, 2, 5), reduction="cam", method="GradCAM", targets=(7,))
    assert texts(panel([a, replace(a, reduction="signed")])) == ["great grey owl", "Saliency", "Saliency"]
    assert texts(panel([a, b])) == ["image", "Saliency", "great grey owl", "GradCAM", "class 7"]
    assert texts(panel([a], titles=["mine"], original=False)) == ["mine", "great grey owl"]
    batch = explain(torch.randn(2, 3, *SIZE))
    assert texts(panel([batch])) == ["thing 0", "Saliency", "thing 1"]  # the column's title is not repeated


def test_an_image_is_drawn_once_per_run():
    owl, eagle = (explain(torch.randn(1, 3, *SIZE), torch.rand(1, 3, *SIZE)) for _ in range(2))
    assert len(panel([owl, owl]).axes) == 3
    assert len(panel([owl, eagle]).axes) == 4
    assert len(panel([owl, eagle], original=False).axes) == 2
    assert len(panel(explain(torch.randn(3, 3, *SIZE))).axes) == 6


def test_columns_wrap():
    a = explain(torch.randn(1, 3, *SIZE))
    wide, high = panel([a] * 3), panel([a] * 3, columns=2)
    assert high.shape[0] > 1.8 * wide.shape[0]
    assert high.shape[1] < 0.6 * wide.shape[1]
    assert len({round(axes.get_position().y0, 3) for axes in panel([a] * 6).axes}) == 2


@pytest.mark.parametrize("size", [(40, 100), (100, 40), (300, 8)])
@pytest.mark.parametrize("method", ["Saliency", "W" * 80, "$x_1$ 50% \\alpha"])
def test_no_text_leaves_the_figure_or_runs_into_the_next(size, method):
    values = 12345.678 * torch.randn(2, 1, *size)
    image = torch.rand(2, 1, *size)
    figure = panel([explain(values, image, kind, method) for kind in ("magnitude", "signed", "cam")], colorbar=True)
    figure.rgba()
    height, width = figure.shape
    boxes = [text.get_window_extent(figure.agg.get_renderer()) for text in figure.texts]
    for box in boxes:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("n", [1, 3])
def test_every_style_and_sign_draws_every_image(channels, n):
    image = torch.rand(n, channels, 30, 20)
    for reduction, shape in (("magnitude", (channels, 30, 20)), ("signed", (1, 3, 2)), ("cam", (1, 3, 2))):
        a = explain(torch.randn(n, *shape), image, reduction)
        for look in (Look(), *(Look(style, "positive") for style in STYLES), *(Look(sign=sign) for sign in SIGNS)):
            drawn = overlay(a, look)
            assert drawn.shape == (n, 420, 280, 4)
            assert drawn.dtype == np.uint8


def test_a_batch_is_drawn_like_its_samples():
    for shape, reduction in (((3, *SIZE), "magnitude"), ((1, 4, 5), "cam")):
        a = explain(torch.randn(3, *shape), torch.rand(3, 3, *SIZE), reduction)
        alone = np.concatenate([overlay(sample) for sample in a])
        assert np.abs(overlay(a).astype(int) - alone).max() <= 1


def test_large_images_shrink():
    drawn = overlay(explain(torch.randn(1, 1, 60, 3000), torch.rand(1, 1, 60, 3000)))
    assert drawn.shape == (1, 20, LARGEST, 4)


def test_flat_maps_are_drawn_without_a_warning():
    for reduction in ("magnitude", "signed", "cam"):
        a = explain(torch.zeros(1, 3, *SIZE), reduction=reduction)
        assert np.isfinite(panel([a], scale="shared", colorbar=True).rgba()).all()


def test_notebooks_get_a_jpeg():
    data, size = explain(torch.randn(1, 3, *SIZE))._repr_jpeg_()
    assert data.startswith(b"\xff\xd8")
    assert size["width"] > size["height"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "heatmap"}, "'blended_heat_map'"),
        ({"sign": "both"}, "'absolute_value'"),
        ({"cmap": "rainbows"}, "no color map 'rainbows'"),
        ({"scale": "same"}, "'shared'"),
        ({"outlier_perc": -1}, "a finite number from 0 to 100"),
        ({"titles": ["a", "b"]}, "2 titles"),
        ({"columns": 0}, "columns is 0, but must be"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(NetLensError, match=message):
        explain(torch.randn(1, 3, *SIZE)).show(**options)


def test_a_panel_needs_attributions_of_one_length():
    with pytest.raises(NetLensError, match="at least one"):
        panel([])
    with pytest.raises(NetLensError, match=r"\[1, 2\]"):
        panel([explain(torch.randn(n, 3, *SIZE)) for n in (1, 2)])


def test_what_is_set_for_plots_does_not_touch_pictures():
    a = explain(torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)), method="layer1.0.relu_1")
    before = a.show().rgba()
    with mpl.rc_context({"image.origin": "lower", "text.usetex": True, "image.interpolation": "bicubic"}):
        assert np.array_equal(a.show().rgba(), before)


def test_a_color_map_may_be_given_itself():
    assert Look(cmap=mpl.colormaps["hot"]) == Look(cmap="hot")
    with pytest.raises(NetLensError, match="cmap is 3, but must be a name"):
        Look(cmap=3)


def test_a_notebook_holds_a_drawing_once_even_after_pyplot_is_imported(monkeypatch):
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.pylabtools import select_figure_formats

    shell = InteractiveShell.instance()
    try:
        select_figure_formats(shell, {"png"})  # as Jupyter does when pyplot is imported
        publisher = CapturingDisplayPublisher()
        monkeypatch.setattr(shell, "display_pub", publisher)
        assert shell.display_formatter.format(panel([explain(torch.rand(1, 3, *SIZE))])) == ({}, {})
    finally:
        InteractiveShell.clear_instance()
    (output,) = publisher.outputs
    assert set(output["data"]) == {"image/jpeg", "text/plain"}
    assert set(output["metadata"]["image/jpeg"]) == {"width", "height"}
