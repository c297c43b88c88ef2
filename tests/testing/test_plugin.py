"""The plugin of pytest: claims of tests that pass and fail, their page, and its lightness."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from netlens.testing import assert_looks_at  # the tests within tests then import nothing large
from tests.browser import distorted, nameless, watched
from tests.markup import Page

assert assert_looks_at is not None
ROOT = Path(__file__).parents[2]
PLUGIN = ("-p", "netlens.testing.plugin", "-p", "no:cacheprovider")
CODE = """
import pytest
from netlens import NetLens
from netlens.testing import assert_ignores, assert_looks_at
from tests.testing.networks import LEFT, RIGHT, linear, ones

def lens():
    return NetLens(linear(3.0, 1.0), ones())

def test_right():
    assert_looks_at(lens(), LEFT, 0.7, "input_x_gradient")
    assert_ignores(lens(), RIGHT, 1.0, fillings=(0.0,))

def test_wrong():
    assert_looks_at(lens(), RIGHT, 0.7, "input_x_gradient")

@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a b/ü#%"])
def test_names(name):
    assert_looks_at(lens(), LEFT, 0.6, "input_x_gradient")

@pytest.mark.xfail(strict=True)
def test_known():
    assert_looks_at(lens(), RIGHT, 0.8, "input_x_gradient")

@pytest.fixture
def claimed():
    assert_looks_at(lens(), RIGHT, 0.9, "input_x_gradient")

def test_in_a_fixture(claimed):
    pass

def test_without_claims():
    pass
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins come by -p alone, whether netlens is installed with its entry point or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_without_the_option_failures_are_saved_where_pytest_keeps_its_files(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_it=CODE)
    result = pytester.runpytest(*PLUGIN, "--basetemp=temporary")
    result.assert_outcomes(passed=4, failed=1, xfailed=1, errors=1)
    names = [path.name for path in (pytester.path / "temporary" / "netlens-failures").iterdir()]
    assert sorted(names) == [
        "test_it.py-test_in_a_fixture-looks_at.png",
        "test_it.py-test_known-looks_at.png",
        "test_it.py-test_wrong-looks_at.png",
    ]
    result.stdout.fnmatch_lines(
        [
            "*def test_wrong():*",
            ">*assert_looks_at(lens(), RIGHT, 0.7*",
            "E*assert_looks_at: it is not so that the network sequential looks at the mask.",
            "E*measured  0.25: class 0 (the mask covers 50% of the image)",
            "E*wanted    at least 0.7: *",
            f"E*look at   {pytester.path}/temporary/netlens-failures/test_it.py-test_wrong-looks_at.png",
        ]
    )
    assert "_claim.py" not in result.stdout.str() and "netlens: " not in result.stdout.str()


def test_a_run_without_claims_makes_no_folder(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest(*PLUGIN, "--basetemp=temporary").assert_outcomes(passed=1)
    assert not (pytester.path / "temporary").exists()


@pytest.fixture
def report(pytester: pytest.Pytester) -> Path:
    pytester.makepyfile(test_it=CODE)
    result = pytester.runpytest(*PLUGIN, "--netlens-report=claims/new")
    result.assert_outcomes(passed=4, failed=1, xfailed=1, errors=1)
    folder = pytester.path / "claims" / "new"
    result.stdout.fnmatch_lines([f"netlens: 7 claims, 3 do not hold: {folder}/index.html"])
    assert f"{folder}/failures/test_it.py-test_wrong-looks_at.png" in result.stdout.str()
    assert len(list((folder / "failures").iterdir())) == 3
    return folder / "index.html"


def test_the_page_says_every_number_and_bound_and_outcome(report: Path) -> None:
    text = Page(report).text
    assert "4 of 7 claims hold" in text and "measured in 6 tests" in text
    for outcome in ("test_right · passed", "test_wrong · failed", "test_known · xfailed", "test_in_a_fixture · error"):
        assert outcome in text
    assert "measured 0.25 wanted at least 0.7" in text and "measured 0.75 wanted at least 0.6" in text
    assert "at most 1" in text and "test_without_claims" not in text
    assert text.index("test_wrong · failed") < text.index("test_right · passed")  # what does not hold comes first


def test_the_page_is_whole_in_itself(report: Path) -> None:
    page = Page(report)
    pictures = page.values("img", "src")
    assert len(pictures) == 2 * 7 and all(src.startswith("data:image/jpeg;base64,") for src in pictures)
    assert all(page.values("img", "alt"))
    assert not {"script", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert "default-src 'none'" in report.read_text() and "http://" not in report.read_text()


def test_links_lead_to_tests_whatever_their_names_are(report: Path) -> None:
    page = Page(report)
    targets = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    links = page.values("a", "href")
    assert all(href.startswith("#") and unquote(href[1:]) in targets for href in links)
    assert "#test_it.py::test_wrong" in links
    assert "test_it.py::test_names[<script>alert(1)</script>]" in targets


def test_a_page_is_written_anew_and_a_page_of_somebody_else_is_not(report: Path, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="def test_it(): pass")
    option = f"--netlens-report={report.parent}"
    assert pytester.runpytest(*PLUGIN, option).ret == 0
    assert "0 of 0 claims hold" in Page(report).text and "No test has made a claim." in Page(report).text
    report.write_text("<h1>mine</h1>")
    result = pytester.runpytest(*PLUGIN, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --netlens-report: {report} is no page of claims; *"])
    assert report.read_text() == "<h1>mine</h1>"
    result = pytester.runpytest(*PLUGIN, f"--netlens-report={report}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR and "cannot be made" in result.stderr.str()


def test_a_page_that_cannot_be_written_says_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import shutil\ndef test_it(): shutil.rmtree('claims')")
    result = pytester.runpytest(*PLUGIN, "--netlens-report=claims")
    result.stdout.fnmatch_lines(["netlens: the page of claims cannot be written (No such file or directory): *"])


def test_claims_of_several_processes_come_on_one_page(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xdist", reason="tests run in several processes by pytest-xdist")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the other processes import `tests`
    pytester.makepyfile(test_it=CODE)
    result = pytester.runpytest_subprocess(*PLUGIN, "-p", "xdist.plugin", "-n2", "--netlens-report=claims")
    result.assert_outcomes(passed=4, failed=1, xfailed=1, errors=1)
    text = Page(pytester.path / "claims" / "index.html").text
    assert "4 of 7 claims hold" in text and "test_known · xfailed" in text
    assert len(list((pytester.path / "claims" / "failures").iterdir())) == 3


def test_a_run_that_makes_no_claim_imports_nothing_large(tmp_path: Path) -> None:
    """By its entry point, as pytest finds it once netlens is installed."""
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert "netlens.testing.plugin" in (tmp_path / "netlens.egg-info" / "entry_points.txt").read_text()
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it(pytestconfig):\n"
        "    assert pytestconfig.getoption('--netlens-report') is None\n"
        "    assert 'netlens.testing.plugin' in sys.modules\n"
        "    large = {'torch', 'numpy', 'matplotlib', 'PIL', 'jinja2', 'safetensors'} & set(sys.modules)\n"
        "    assert not large, large\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
    others = [f"-pno:{name}" for name in ("anyio", "xdist", "xdist.looponfail", "hypothesispytest", "jaxtyping")]
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *others, "--rootdir", str(tmp_path), "test_it.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_is_whole_at_any_width(browser: Any, report: Path, width: int, scheme: Any) -> None:
    with watched(browser, report.as_uri(), viewport={"width": width, "height": 900}, color_scheme=scheme) as tab:
        tab.goto(report.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert not nameless(tab)
        assert not distorted(tab)
        tab.locator("li a").first.click()
        assert tab.evaluate("document.querySelector(':target').textContent").startswith("test_it.py::test_wrong")
