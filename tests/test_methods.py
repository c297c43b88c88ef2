"""Type checkers and editors see every method of `NetLens`, with the options that it has."""

from __future__ import annotations

import ast
import inspect

import pytest

from netlens import NetLens
from netlens.attribution import METHODS
from netlens.methods import Methods
from tests.lens_stub import FILE, stub


def test_the_stub_is_that_of_the_registry():
    assert FILE.read_text(encoding="utf-8") == stub(), "write it anew: python -m tests.lens_stub"


@pytest.mark.parametrize("name", ["grad_cam", "integrated_gradients", "occlusion", "lrp"])
def test_the_stub_says_what_the_method_takes(name):
    (cls,) = (node for node in ast.parse(FILE.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef))
    (method,) = (node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == name)

    class Anything(Methods):
        def attribute(self, method, objective=None, wrt="input"):
            return method, objective, wrt

    signature = inspect.signature(getattr(Anything(), name))
    assert [argument.arg for argument in method.args.kwonlyargs] == list(signature.parameters)
    assert set(signature.parameters) > {"objective", "wrt"}


def test_every_method_is_one_of_the_facade():
    assert issubclass(NetLens, Methods)
    assert set(METHODS) <= set(dir(NetLens.__new__(NetLens)))
