"""Colors of the content: chroma kept exactly, moments matched exactly, histograms matched exactly."""

import pytest
import torch
from torch.testing import assert_close

from netlens.visualization.params.color import gray
from netlens.visualization.style.color import matched_histogram, matched_moments, recolored, with_chroma_of


def pictures(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    noise = torch.rand(3, height * width, generator=generator, dtype=torch.float64)
    values = mixed @ noise
    low, high = values.min(), values.max()
    return ((values - low) / (high - low)).view(1, 3, height, width)


CONTENT, STYLE = pictures(0, 12, 15), pictures(1, 9, 11)


def test_chroma_is_kept_exactly_and_the_picture_can_be_shown():
    luminance = pictures(2, 12, 15)
    picture = with_chroma_of(luminance, CONTENT)
    assert_close(picture - gray(picture), CONTENT - gray(CONTENT), rtol=0, atol=1e-12)
    assert picture.min() >= -1e-12 and picture.max() <= 1 + 1e-12
    inside = (picture > 0.01).all(1) & (picture < 0.99).all(1)
    assert inside.any()
    assert_close(gray(picture)[:, 0][inside], gray(luminance)[:, 0][inside], rtol=0, atol=1e-12)
    assert_close(with_chroma_of(CONTENT, CONTENT), CONTENT, rtol=0, atol=1e-12)


def moments(picture):
    return picture[0].flatten(1).mean(1), torch.cov(picture[0].flatten(1), correction=0)


def test_mean_and_covariance_become_those_of_the_content():
    assert_close(moments(matched_moments(STYLE, CONTENT)), moments(CONTENT), rtol=1e-9, atol=1e-12)
    assert_close(matched_moments(CONTENT, CONTENT), CONTENT, rtol=1e-9, atol=1e-9)


def test_a_style_of_one_color_takes_the_mean_color():
    plain = matched_moments(torch.full((1, 3, 4, 4), 0.7, dtype=torch.float64), CONTENT)
    assert_close(plain, CONTENT.mean((2, 3), keepdim=True).expand_as(plain))


def test_histograms_become_those_of_the_content_and_the_order_stays():
    matched = matched_histogram(STYLE, CONTENT)
    same_size = matched_histogram(CONTENT.flip(3), pictures(3, 12, 15))
    mine, theirs = (p[0].flatten(1).sort(1).values for p in (same_size, pictures(3, 12, 15)))
    assert_close(mine, theirs, rtol=0, atol=1e-12)
    order = STYLE[0].flatten(1).argsort(1)
    assert (matched[0].flatten(1).gather(1, order).diff(dim=1) >= 0).all()
    share = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    mine, theirs = (torch.quantile(p[0].flatten(1), share, dim=1) for p in (matched, CONTENT))
    assert_close(mine, theirs, rtol=0, atol=0.02)


def test_style_colors_are_left_alone_and_luminance_is_gray():
    assert recolored(STYLE, CONTENT, "style") is STYLE
    assert recolored(STYLE, CONTENT, "luminance").shape[1] == 1
    with pytest.raises(Exception, match="sepia"):
        recolored(STYLE, CONTENT, "sepia")


def test_a_plain_ground_stays_plain():
    style = STYLE.clone()
    style[..., :5, :] = 0.7
    matched = matched_histogram(style, CONTENT)
    grounds = matched[0, :, :5].flatten(1)
    assert_close(grounds, grounds[:, :1].expand_as(grounds), rtol=0, atol=0)
    flat = matched_histogram(torch.full((1, 3, 4, 4), 0.7, dtype=torch.float64), CONTENT)
    middle = torch.stack([torch.quantile(one, (torch.arange(16).double() + 0.5) / 16) for one in CONTENT[0].flatten(1)])
    assert_close(flat[0].flatten(1).mean(1), middle.mean(1), rtol=0, atol=0.01)
    assert (flat[0].flatten(1).diff(dim=1) == 0).all()
