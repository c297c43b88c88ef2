"""What the tab Dream and draw shows is what netlens draws, and the code that it shows draws the same."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from netlens.errors import NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.interruption import Interrupted, interruptible
from netlens.options import options_of
from netlens.playground import Studio
from netlens.playground import _dream as page
from netlens.playground._drawing import Drawing
from netlens.playground._dream import drawing_for, drawing_of, drawing_on_sheet, drawing_to_continue, grow, key_of
from netlens.playground._film import MOST
from netlens.playground._html import curve
from netlens.playground._wish import CHANNEL, CLASS, DREAM, INHIBIT, INVERSION, Wish
from netlens.preprocessing import Preprocessing
from netlens.results import read_provenance
from netlens.silence import silenced
from netlens.visualization import Dreaming, Inverting, NetDreamer, dream, invert

KEY = "trunk_output.block1"
WISHES = {
    "channel": Wish(CHANNEL, KEY, 3, options="draw.steps=6&draw.size=40"),
    "negative": Wish(CHANNEL, "stem.0", 3, INHIBIT, options="draw.steps=6&draw.size=40&draw.seed=2&draw.param=pixel"),
    "class": Wish(CLASS, target="3: striped heart", options="draw.steps=6&draw.size=40"),
    "dream": Wish(DREAM, KEY, picture="scene 2", options="dream.steps=3&dream.size=80&dream.jitter=4"),
    "inversion": Wish(INVERSION, KEY, picture="scene 2", options="invert.steps=6&invert.size=40&invert.variation=0.5"),
}


@pytest.fixture
def new_studio(studio):
    """A studio with no drawings yet."""
    return Studio(studio.flat)


def newest(studio, wish):
    """What a page continues that shows the newest drawing of a wish."""
    drawing = drawing_of(studio, wish)
    return drawing_to_continue(studio, wish, "" if drawing is None else drawing.key)


def drawn(studio, wish, more=False):
    looks: list[Drawing] = []
    grow(studio, wish, looks.append, newest(studio, wish) if more else None)
    assert studio.drawings.get(looks[-1].key) is looks[-1]
    return looks[-1]


def interrupted(studio, wish, step, more=False):
    """A drawing that was stopped when this step was shown."""
    stop, looks = threading.Event(), []

    def show(drawing):
        looks.append(drawing)
        if drawing.step >= step:
            stop.set()

    with pytest.raises(Interrupted), interruptible(stop.is_set):
        grow(studio, wish, show, newest(studio, wish) if more else None)
    assert studio.drawings.get(looks[-1].key) is looks[-1]
    return looks[-1]


def run(studio, drawing):
    """The render that the shown code makes."""
    names: dict[str, object] = {}
    exec(page.code(studio, drawing.wish, drawing).removesuffix("render.show()"), names)
    return names["render"]


def same(drawing, render):
    assert torch.equal(drawing.render.images, render.images)
    assert drawing.render.provenance == render.provenance


@pytest.fixture
def every_step_is_shown(monkeypatch):
    monkeypatch.setattr("netlens.playground._drawing.PACE", 0.0)


def test_each_kind_is_what_netlens_draws(new_studio):
    flat, photo = new_studio.flat, new_studio.picture("scene 2")
    small = {"size": 40, "progress": False}
    expected = {
        "channel": NetDreamer(flat, steps=6, **small).channel(KEY, 3),
        "class": NetDreamer(flat, steps=6, **small).classes(3),
        "dream": dream(flat, photo, KEY, steps=3, size=80, jitter=4, progress=False),
        "inversion": invert(flat, photo, KEY, steps=6, variation=0.5, **small),
    }
    for name, render in expected.items():
        drawing = drawn(new_studio, WISHES[name])
        same(drawing, render)
        assert drawing.step == drawing.steps == len(render.history)


@pytest.mark.parametrize("name", WISHES)
def test_the_code_draws_the_same(new_studio, name):
    drawing = drawn(new_studio, WISHES[name])
    same(drawing, run(new_studio, drawing))


@pytest.mark.parametrize("name", WISHES)
def test_the_code_of_a_stopped_drawing_draws_as_far(new_studio, name, every_step_is_shown):
    drawing = interrupted(new_studio, WISHES[name], 4)
    assert drawing.step == 4
    same(drawing, run(new_studio, drawing))
    assert page.code(new_studio, drawing.wish, drawing) != page.code(new_studio, drawing.wish)


@pytest.mark.parametrize("name", WISHES)
def test_a_stopped_drawing_goes_on_as_if_it_had_not_stopped(new_studio, name, every_step_is_shown):
    whole = drawn(Studio(new_studio.flat), WISHES[name])
    part = interrupted(new_studio, WISHES[name], 4)
    drawing = drawn(new_studio, WISHES[name], more=True)
    same(drawing, whole.render)
    assert drawing.step == whole.steps == part.steps
    assert [shot.step for shot in drawing.film.shots] == list(range(drawing.steps + 1))


@pytest.mark.parametrize("name", WISHES)
@pytest.mark.parametrize("times", [1, 3])
def test_a_finished_drawing_goes_on(new_studio, name, times):
    wish = WISHES[name]
    once = drawn(new_studio, wish).steps
    for _ in range(times):
        drawing = drawn(new_studio, wish, more=True)
    assert drawing.step == drawing.steps == (times + 1) * once
    assert [shot.step for shot in drawing.film.shots] == list(range(drawing.steps + 1))
    same(drawing, run(new_studio, drawing))
    if name != "dream":  # a dream is dreamed again; others have one optimizer all the way
        longer = wish.options.replace("steps=6", f"steps={drawing.steps}")
        same(drawn(Studio(new_studio.flat), Wish(**{**vars(wish), "options": longer})), drawing.render)


def test_a_second_dream_that_was_stopped(new_studio, every_step_is_shown):
    wish = WISHES["dream"]
    once = drawn(new_studio, wish).steps
    drawing = interrupted(new_studio, wish, once + 2, more=True)
    assert (drawing.step, drawing.steps) == (once + 2, 2 * once)
    same(drawing, run(new_studio, drawing))
    looks: list[Drawing] = []
    grow(new_studio, wish, looks.append, drawing_to_continue(new_studio, wish, drawing.key))
    whole = looks[-1]
    assert whole.step == 2 * once
    same(whole, run(new_studio, whole))


def test_looks_are_few_and_the_film_is_bounded(new_studio):
    looks: list[Drawing] = []
    wish = Wish(CHANNEL, "stem.0", 1, options="draw.steps=400&draw.size=16")
    grow(new_studio, wish, looks.append)
    assert looks[0].step == 0 and looks[-1].step == 400
    assert len(looks) < 400
    assert len(looks[-1].film.shots) <= MOST
    assert len(new_studio.drawings) == 1


def test_a_drawing_that_has_no_step_is_not_saved(new_studio):
    looks: list[Drawing] = []
    grow(new_studio, WISHES["channel"], looks.append)
    with pytest.raises(NetLensError, match="no step yet"):
        looks[0].result()


def test_there_must_be_something_to_continue(new_studio):
    with pytest.raises(NetLensError, match="press Draw first"):
        drawn(new_studio, WISHES["channel"], more=True)
    drawing = drawn(new_studio, WISHES["channel"])
    other = Wish(CHANNEL, KEY, 4, options=WISHES["channel"].options)
    for wish, key in ((other, drawing.key), (WISHES["channel"], "")):  # another page has drawn the same
        with pytest.raises(NetLensError, match="press Draw first"):
            drawing_to_continue(new_studio, wish, key)


def test_a_drawing_with_fewer_steps_than_asked_for_is_another(new_studio, every_step_is_shown):
    wish = WISHES["channel"]
    assert drawing_for(new_studio, wish) is None
    drawing = interrupted(new_studio, wish, 2)
    assert drawing_for(new_studio, wish) is drawing
    for steps, expected in ((5, drawing), (6, drawing), (7, None)):
        assert drawing_for(new_studio, Wish(CHANNEL, KEY, 3, options=f"draw.steps={steps}&draw.size=40")) is expected


@pytest.mark.parametrize("name", WISHES)
def test_no_run_changes_the_drawing_of_another(new_studio, name, every_step_is_shown):
    wish = WISHES[name]
    first = drawn(new_studio, wish)
    pixels, picture = first.pixels.copy(), first.render.images.clone()
    part = interrupted(new_studio, wish, 2)
    longer = drawn(new_studio, wish, more=True)
    again = drawn(new_studio, wish)
    assert len({one.key for one in (first, part, longer, again)}) == 4
    assert new_studio.drawings.get(first.key) is first and first.finished
    assert (first.pixels == pixels).all() and torch.equal(first.render.images, picture)
    assert longer.step == 2 * first.step  # the finished one was continued


def test_a_wish_finds_the_newest_finished_drawing_and_else_the_one_that_was_stopped(new_studio, every_step_is_shown):
    wish = WISHES["channel"]
    during: list[Drawing | None] = []
    grow(new_studio, wish, lambda drawing: during.append(drawing_of(new_studio, wish)))
    assert set(during) == {None}  # nothing is found before it has ended
    fresh = Studio(new_studio.flat)
    part = interrupted(fresh, wish, 2)
    assert drawing_of(fresh, wish) is part
    first = drawn(fresh, wish)
    assert drawing_of(fresh, wish) is first
    last = interrupted(fresh, wish, 3)
    assert drawing_of(fresh, wish) is first
    assert drawing_on_sheet(fresh, wish, last.key) is last
    assert drawing_on_sheet(fresh, WISHES["class"], last.key) is None
    second = drawn(fresh, wish)
    assert drawing_of(fresh, wish) is second


def test_a_drawing_counts_what_it_holds(new_studio):
    wish = Wish(DREAM, KEY, picture="scene 2", options="dream.steps=2&dream.size=128&dream.octaves=4")
    for more in (False, True):
        drawing = drawn(new_studio, wish, more)
        assert drawing.render.frames == ()
        tensors = [drawing.render.images, drawing.values, *drawing.state.packed()[0].values()]
        tensors += [] if drawing.rounds.base is None else [drawing.rounds.base]
        tensor_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        assert drawing.nbytes >= tensor_bytes + drawing.pixels.nbytes + drawing.film.nbytes
    assert drawing.rounds.base is not None


def test_a_drawing_is_known_by_what_is_drawn_alone():
    one = WISHES["channel"]
    same_drawing: list[dict] = [
        {"picture": "scene 5"},
        {"target": "4"},
        {"options": "draw.size=40&dream.octaves=2&draw.steps=9"},
    ]
    others: list[dict] = [
        {"channel": 4},
        {"layer": "stem"},
        {"sign": INHIBIT},
        {"what": CLASS},
        {"options": "draw.size=41"},
    ]
    assert all(key_of(Wish(**{**vars(one), **changes})) == key_of(one) for changes in same_drawing)
    assert all(key_of(Wish(**{**vars(one), **changes})) != key_of(one) for changes in others)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": "nothing"}, "has no layer 'nothing'"),
        ({"channel": 99}, "no channel 99; its channels are 0 to 31"),
        ({"what": CLASS, "target": ""}, "no class yet"),
        ({"what": CLASS, "target": "nobody"}, "nobody"),
        ({"what": DREAM, "picture": "../x"}, "is not here, or no longer"),
        ({"what": "poem"}, "'poem'"),
        ({"options": "draw.steps=0"}, "steps is 0"),
        ({"options": "draw.size=100000"}, "size is 100000"),
        ({"options": "draw.sice=3"}, "sice"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line(new_studio, changes, message):
    with pytest.raises(NetLensError, match=message) as error:
        drawn(new_studio, Wish(**{**vars(WISHES["channel"]), **changes}))
    assert "\n" not in str(error.value)
    assert len(new_studio.drawings) == 0


def test_the_forms_have_the_options_of_the_commands(new_studio):
    forms = page.forms_of(new_studio)
    for form, cls in (("draw", NetDreamer), ("dream", Dreaming), ("invert", Inverting)):
        theirs = {one.name: one for one in options_of(cls)}
        mine = {one.name: one for one in options_of(forms[form])}
        assert set(theirs) - set(mine) == (
            {"flat", "transforms", "progress", "options"} if cls is NetDreamer else set()
        )
        for name in set(mine) - {"size"}:
            assert mine[name] == theirs[name]
        assert mine["size"].limits.most == page.MOST_SIDE


def test_a_channel_that_never_fires_is_told():
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3))
    with torch.no_grad():
        network[0].bias.copy_(torch.tensor([0.0, -1000.0]))
    adapter = Adapter(preprocessing=Preprocessing(None, None, (0.5,) * 3, (0.25,) * 3))
    studio = Studio(FlatModel.from_nn_Module(network, adapter=adapter))
    wishes = [Wish(CHANNEL, "1", channel, options="draw.steps=3&draw.size=24") for channel in (0, 1)]
    with silenced(NetLensWarning):
        assert [page.found_nothing(drawn(studio, wish)) for wish in wishes] == [False, True]


def test_saved_pictures_say_how_they_were_drawn(new_studio, tmp_path):
    drawing = drawn(new_studio, WISHES["channel"])
    saved = read_provenance(drawing.render.save(tmp_path / "one.png"))
    assert saved == NetDreamer(new_studio.flat, size=40, steps=6, progress=False).channel(KEY, 3).provenance


def test_a_first_layer_has_maps_and_channels(new_studio):
    layer = page.first_layer(new_studio)
    assert new_studio.flat.key(layer) == layer
    assert page.channels_of(new_studio, layer) > 1


@pytest.mark.parametrize("values", [[1.0, 3.0], [2.0, -1.0, 5.0], [0.0] * 7, list(range(5000))])
def test_a_curve_goes_from_left_to_right_between_bottom_and_top(values):
    line = curve(values, "the objective").partition('points="')[2].partition('"')[0]
    across, down = zip(*(map(float, point.split(",")) for point in line.split(" ")), strict=True)
    assert across[0] == 0 and across[-1] == 200 and list(across) == sorted(across)
    assert len(down) < 250
    assert max(down) == 39 and min(down) == (39 if len(set(values)) == 1 else 1)
    assert (down[0] < down[-1]) == (values[0] > values[-1])
