"""What the tab Explain shows is what netlens computes, and the code that it shows computes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netlens import NetLens
from netlens.playground._explain import VIEWS, Answer, Question, chosen, code, drawn, explain, legend
from netlens.show import overlay

UNPREDICTED = pytest.mark.filterwarnings("ignore:explaining:netlens.errors.NetLensWarning")


def answers_of(studio, question):
    answers: list[Answer] = []
    explain(studio, question, answers.append)
    return answers


@UNPREDICTED
def test_each_method_answers_with_the_values_of_netlens(studio):
    question = Question("scene 1", 3, ("saliency", "occlusion:window=32,stride=16", "grad_cam"), "trunk_output.block2")
    answers = answers_of(studio, question)
    lens = NetLens(studio.flat, studio.picture("scene 1"), 3)
    expected = [
        lens.saliency(),
        lens.occlusion(window=32, stride=16),
        lens.grad_cam(layer="trunk_output.block2"),
    ]
    assert [answer.text for answer in answers] == list(question.methods)
    for answer, other in zip(answers, expected, strict=True):
        torch.testing.assert_close(answer.result.values.double(), other.values.double(), rtol=1e-5, atol=1e-6)


def test_a_method_that_fails_does_not_stop_the_others(studio):
    question = Question("scene 1", None, ("occlusion:window=0", "attention_map", "nonsense", "saliency"))
    answers = {answer.text: answer for answer in answers_of(studio, question)}
    assert answers["saliency"].result is not None
    assert "window is 0" in answers["occlusion:window=0"].why
    assert "attention" in answers["attention_map"].why
    assert "nonsense" in answers["nonsense"].why
    assert all("\n" not in answer.why for answer in answers.values())


def test_a_question_asked_twice_is_computed_once(studio, monkeypatch):
    question = Question("scene 4", None, ("saliency",))
    (first,) = answers_of(studio, question)
    monkeypatch.setattr("netlens.attribution.Saliency.__call__", lambda *_: pytest.fail("it was computed again"))
    (second,) = answers_of(studio, question)
    assert second.result is first.result


@UNPREDICTED
@pytest.mark.parametrize("target", [None, 3])
def test_the_code_gives_the_same_numbers(studio, target):
    question = Question("scene 2", target, ("grad_cam", "integrated_gradients:n_steps=5,baselines=blur"))
    before, _, calls = code(studio, question).partition("lens.show(")
    assert "    lens.integrated_gradients(n_steps=5, baselines='blur'),\n" in calls
    names: dict = {}
    exec(before, names)
    for attribution, answer in zip(eval(f"({calls}", names), answers_of(studio, question), strict=True):
        torch.testing.assert_close(attribution.values, answer.result.values)


def test_the_code_of_one_method_and_of_none(studio):
    assert code(studio, Question("scene 2", None, ("grad_cam",))).endswith("\nlens.grad_cam().show()")
    assert "\n# nosuch: there is no method 'nosuch'." in code(studio, Question("scene 2", None, ("nosuch",)))


def test_at_full_opacity_the_drawing_is_that_of_netlens_and_below_the_photo_shines_through(studio):
    (answer,) = answers_of(studio, Question("scene 2", None, ("grad_cam",)))
    for view, look in VIEWS.items():
        whole = np.asarray(drawn(answer.result, view, 1.0)).astype(int)
        assert np.array_equal(whole, overlay(answer.result, look)[0][..., :3])
        photo = np.asarray(drawn(answer.result, view, 0.0)).astype(int)
        half = np.asarray(drawn(answer.result, view, 0.5)).astype(int)
        assert np.abs(half - (whole + photo) / 2).max() <= 1


def colors_of(pixels):
    """Whether a drawing over gray has a clear red, and a clear blue."""
    red, green, blue = (np.asarray(pixels).astype(int)[..., i] for i in range(3))
    return bool((red - np.maximum(green, blue) > 90).any()), bool((blue - np.maximum(green, red) > 90).any())


@pytest.mark.parametrize(
    ("method", "view", "text", "colors"),
    [
        ("integrated_gradients", "signed", "Red speaks for the class, blue against it.", (True, True)),
        ("saliency", "signed", "A map without blue shows only how much a place counts.", (True, False)),
        ("integrated_gradients", "positive", "Warm and bright colors show what speaks for the class.", None),
        ("integrated_gradients", "negative", "Warm and bright colors show what speaks against the class.", None),
        ("grad_cam", "overlay", "Warm and bright colors show what counts most.", None),
    ],
)
def test_the_legend_says_what_the_colors_mean(studio, method, view, text, colors):
    (answer,) = answers_of(studio, Question("scene 3", None, (method,)))
    assert legend([answer.result], view) == text
    assert colors is None or colors_of(drawn(answer.result, view, 1.0)) == colors


def test_the_legend_covers_all_maps_and_is_silent_without_one(studio):
    answers = answers_of(studio, Question("scene 3", None, ("integrated_gradients", "saliency")))
    both = legend([answer.result for answer in answers], "signed")
    assert both == "Red speaks for the class, blue against it. A map without blue shows only how much a place counts."
    assert legend([], "signed") == ""
    answers += answers_of(studio, Question("scene 3", None, ("grad_cam",)))
    three = legend([answer.result for answer in answers], "overlay")
    assert three.endswith("In other maps, warm and bright colors show what counts most.")


def test_options_of_a_form_become_the_text_of_its_method():
    options = {"occlusion.window": "32", "lime.seed": "3", "occlusion.stride": "8"}
    assert chosen(["grad_cam", "occlusion"], options) == ("grad_cam", "occlusion:window=32,stride=8")
