"""Watching a style transfer: it changes nothing, and what is seen last is the result."""

import pytest
import torch

from netlens.errors import NetLensError
from netlens.visualization.style import StyleTransfer
from tests.visualization.style.test_style_transfer import OTHER, STYLE, content, flat  # noqa: F401

QUICK = {"size": 96, "steps": 5, "scales": 2}


class Watcher:
    """Keeps what was seen of a transfer."""

    def __init__(self):
        self.glances = []

    def __call__(self, glance):
        self.glances.append((glance.step, glance.scale, glance.images, glance.losses(), glance.render({"style": 2.0})))


@pytest.mark.parametrize("options", [{}, {"optimizer": "lbfgs"}, {"color": "luminance"}, {"tile": 48}])
def test_the_last_glance_is_the_result_and_watching_changes_nothing(flat, content, options):  # noqa: F811
    transfer, watcher = StyleTransfer(**QUICK, **options), Watcher()
    plain = transfer(flat, content, [STYLE, OTHER], progress=False)
    watched = transfer(flat, content, [STYLE, OTHER], progress=False, watch=watcher)
    assert torch.equal(plain.images, watched.images)
    assert torch.equal(plain.history, watched.history)
    steps, scales, pictures, losses, _ = zip(*watcher.glances, strict=True)
    assert list(steps) == sorted(steps) and steps[-1] == 5
    assert set(scales) == {0, 1}
    assert pictures[0].shape[-1] == 48 and pictures[-1].shape == watched.images.shape
    torch.testing.assert_close(pictures[-1], watched.images)
    end = {name: loss["end"] for name, loss in watched.provenance.options["losses"].items()}
    assert losses[-1] == pytest.approx(end, rel=1e-6)


def test_a_glance_is_kept_as_a_result_that_says_where_it_stopped(flat, content, tmp_path):  # noqa: F811
    watcher = Watcher()
    StyleTransfer(**QUICK)(flat, content, STYLE, progress=False, watch=watcher)
    render = watcher.glances[1][-1]
    assert torch.equal(render.images, watcher.glances[1][2])
    assert render.provenance.method == "StyleTransfer"
    assert render.provenance.options["stopped_after"] == 2
    assert render.provenance.options["losses"] == {"style": {"end": 2.0}}
    assert render.save(tmp_path / "part.png").is_file()


def test_an_error_of_the_watcher_ends_the_transfer(flat, content):  # noqa: F811
    def refuse(glance):
        raise NetLensError("enough")

    with pytest.raises(NetLensError, match="enough"):
        StyleTransfer(**QUICK)(flat, content, STYLE, progress=False, watch=refuse)
