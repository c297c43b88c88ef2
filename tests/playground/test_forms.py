"""Forms say of each option what the class says: name, default, help, bounds and choices."""

from __future__ import annotations

import gradio as gr
import pytest

from netlens.attribution import METHODS, method_from
from netlens.errors import NetLensError
from netlens.options import options_of
from netlens.playground._forms import fields_of
from netlens.playground._links import Linked
from netlens.playground._texts import default_of, description, options_text, read, written


@pytest.mark.parametrize("name", METHODS)
def test_every_option_of_every_method_has_a_field_with_its_help(name):
    with gr.Blocks():
        fields = fields_of(METHODS[name], name, {})
    assert [field.option.name for field in fields] == [one.name for one in options_of(METHODS[name])]
    for one, component in fields:
        assert component.label == one.name.replace("_", " ")
        assert one.help in component.info
        assert str(one.limits) in component.info
        value = {True: "yes", False: "no"}.get(component.value, component.value)
        assert value == default_of(one)


@pytest.mark.parametrize("name", METHODS)
def test_the_default_of_a_form_is_a_text_that_makes_the_method(name):
    for one in options_of(METHODS[name]):
        text = default_of(one)
        if one.kind in (bool, int, float):
            assert getattr(method_from(f"{name}:{one.name}={text}"), one.name) == one.default


def test_a_form_shows_the_options_that_differ():
    with gr.Blocks():
        fields = fields_of(METHODS["occlusion"], "occlusion", {"occlusion.window": "9"})
    assert {one.name: component.value for one, component in fields}["window"] == "9"


def test_texts_survive_the_address():
    texts = {"occlusion.window": "32x16", "lime.mask": "a b&c=d~%"}
    assert read(written(texts)) == texts
    assert read(None) == {}
    assert options_text("occlusion", texts) == "window=32x16"


def test_about_names_type_and_bounds():
    steps = next(one for one in options_of(METHODS["integrated_gradients"]) if one.name == "n_steps")
    assert description(steps).endswith("(whole number, at least 1)")


def test_an_address_sets_the_components_of_its_tab_alone():
    with gr.Blocks():
        parts = {"methods": gr.Dropdown(multiselect=True), "opacity": gr.Slider(), "picture": gr.Dropdown()}
    linked = Linked("explain", parts)
    query = {"tab": "explain", "methods": "saliency~grad_cam", "opacity": "0.5"}
    methods, opacity, picture = linked.values(query)
    assert (methods, opacity) == (["saliency", "grad_cam"], 0.5)
    assert picture == gr.skip()
    assert linked.values(query | {"tab": "look"}) == [gr.skip()] * 3
    assert linked.values(query | {"opacity": "wide"})[1] == gr.skip()


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1e999", "1e300"])
def test_a_number_that_browsers_cannot_hold_changes_nothing(text):
    with gr.Blocks():
        parts = {"channel": gr.Number(precision=0), "layer": gr.Textbox()}
    channel, layer = Linked("dream", parts).values({"tab": "dream", "channel": text, "layer": "stem"})
    assert (channel, layer) == (gr.skip(), "stem")


def test_a_value_of_an_address_is_read_in_full_or_refused():
    with gr.Blocks():
        linked = Linked("dream", {"options": gr.Textbox()})
    longest = 2000 * "x"
    assert linked.values({"tab": "dream", "options": longest}) == [longest]
    with pytest.raises(NetLensError, match="options has 2001 letters in this link"):
        linked.values({"tab": "dream", "options": f"{longest}x"})
