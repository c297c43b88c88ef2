"""The tests on the page docs/testing.md pass, and its claim that does not hold has the message that the page shows."""

from __future__ import annotations

import re

import pytest

from netlens.testing import assert_looks_at
from tests.docs.pages import ROOT, blocks

assert assert_looks_at is not None  # the tests of the page then import nothing large
PAGE = "docs/testing.md"


def test_the_tests_of_the_page_pass_and_its_message_is_right(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    code = "\n".join(blocks(PAGE, "python"))
    shown = re.search(r"^```\n(>.*?)^```", (ROOT / PAGE).read_text(), flags=re.DOTALL | re.MULTILINE)
    assert shown is not None
    claim, *message = shown[1].splitlines()
    code += f"\n\ndef test_that_fails():\n    {claim.lstrip('> ')}\n"
    pytester.makepyfile(test_it=code)
    result = pytester.runpytest("-p", "netlens.testing.plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=code.count("\ndef test_") - 1, failed=1)
    output = result.stdout.str().splitlines()
    assert claim in output
    lines = [line for line in output if line.startswith("E  ")]
    assert [line for line in lines if "look at " not in line] == [line for line in message if "look at " not in line]
    assert any(
        re.search(r"look at   \S+/netlens-failures/test_it.py-test_that_fails-looks_at.png$", line) for line in lines
    )
