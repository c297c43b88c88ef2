"""The plugin of pytest: names claims after their tests, and writes a page of all claims with `--netlens-report`.

It is imported in every run of pytest, so it imports nothing but pytest and the ledger until a claim is made.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, final

import pytest

from netlens.testing._ledger import Entry, Ledger, new_folder, opened

_CLAIMS = "netlens-claims"  # the name of the plugin that holds them
_FAILURES = "netlens-failures"  # in the folder of the run for temporary files
_ATTRIBUTE = "netlens_claims"  # of a report of pytest, which travels from the workers of xdist


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("netlens", "claims about networks (netlens.testing)")
    group.addoption(
        "--netlens-report",
        metavar="DIR",
        help="Write one page with the pictures of all claims, DIR/index.html, and the pictures of claims that do not "
        "hold into DIR/failures.",
    )


def pytest_configure(config: pytest.Config) -> None:
    option = config.getoption("--netlens-report")
    folder = None if option is None else Path(config.invocation_params.dir, option).absolute()
    is_worker = hasattr(config, "workerinput")  # of xdist
    if folder is not None and not is_worker:
        _prepare(folder)
    config.pluginmanager.register(Claims(folder, is_worker), _CLAIMS)


def _prepare(folder: Path) -> None:
    """Make the folder of the page. Raise before the tests run if the page cannot be written, or is somebody else's."""
    from netlens.testing._page import INDEX, is_ours

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(f"--netlens-report: {folder} cannot be made ({error.strerror}).") from error
    if (folder / INDEX).exists() and not is_ours(folder / INDEX):
        raise pytest.UsageError(
            f"--netlens-report: {folder / INDEX} is no page of claims; move it, or choose another folder."
        )


@pytest.fixture(scope="session", autouse=True)
def _netlens_temporary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tell the claims where pytest keeps temporary files; this folder is made only if somebody asks for it."""
    claims = request.config.pluginmanager.get_plugin(_CLAIMS)
    assert isinstance(claims, Claims)
    claims.temporary = tmp_path_factory


@final
class Claims:
    """The claims of a run.

    Args:
        folder: The folder of the page; None for no page.
        is_worker: Whether this process runs tests for another one, which writes the page.
    """

    def __init__(self, folder: Path | None, is_worker: bool) -> None:
        self.folder, self.is_worker = folder, is_worker
        self.temporary: pytest.TempPathFactory | None = None
        self.ledger: Ledger | None = None
        self.outcomes: dict[str, str] = {}
        self.claims: dict[str, list[Entry]] = {}
        self.page: Path | None = None
        self.problem = ""

    def _failures(self) -> Path:
        if self.folder is not None:
            return self.folder / "failures"
        if self.temporary is None:  # a test of another kind, which has no fixtures
            return new_folder()
        return self.temporary.getbasetemp() / _FAILURES

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        ledger = Ledger(self._failures, item.nodeid, draws=self.folder is not None)
        with opened(ledger):
            self.ledger = ledger
            result = yield
            self.ledger = None
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if self.folder is not None and self.ledger is not None:
            entries, self.ledger.entries = self.ledger.entries, []
            setattr(report, _ATTRIBUTE, [entry.packed() for entry in entries])
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.folder is None or self.is_worker:
            return
        entries: list[dict[str, Any]] = report.__dict__.pop(_ATTRIBUTE, [])  # pytest keeps the report to the end
        if entries:
            self.claims.setdefault(report.nodeid, []).extend(map(Entry.unpacked, entries))
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = _outcome(report)

    def pytest_sessionfinish(self) -> None:
        if self.folder is None or self.is_worker:
            return
        from netlens.testing._page import Tested, write_page

        tests = [
            Tested(test, self.outcomes.get(test, "passed"), tuple(entries)) for test, entries in self.claims.items()
        ]
        try:
            self.page = write_page(self.folder, tests)
        except OSError as error:
            self.problem = f"the page of claims cannot be written ({error.strerror}): {self.folder}"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.page is not None:
            every = [entry for entries in self.claims.values() for entry in entries]
            wrong = sum(not entry.holds for entry in every)
            verb = "does" if wrong == 1 else "do"
            terminalreporter.write_line(f"netlens: {len(every)} claims, {wrong} {verb} not hold: {self.page}")
        if self.problem:
            terminalreporter.write_line(f"netlens: {self.problem}", red=True)


def _outcome(report: pytest.TestReport) -> str:
    """What pytest says of a test, in its words."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.outcome == "skipped" else "xpassed"
    return report.outcome if report.when == "call" or report.outcome == "skipped" else "error"
