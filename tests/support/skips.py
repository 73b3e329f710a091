"""Skipped tests are listed; in CI, a skip that nobody allowed fails the run."""

import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

ALLOWED_SKIPS = Path(__file__).resolve().parents[1] / "allowed_skips.txt"


def read_allowed_skips(path: Path) -> list[tuple[str, str]]:
    """Read lines of ``node id pattern | reason pattern``; ``#`` starts a comment."""
    pairs = []
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text:
            node, bar, reason = (part.strip() for part in text.partition("|"))
            if not bar or not node or not reason:
                raise ValueError(f"Not 'node id pattern | reason pattern': {line!r}")
            pairs.append((node, reason))
    return pairs


def is_allowed(node_id: str, reason: str, allowed: list[tuple[str, str]]) -> bool:
    """Tell whether a skip is on the list."""
    return any(fnmatch(node_id, node) and fnmatch(reason, text) for node, text in allowed)


class SkipWatch:
    """Pytest plugin that collects skips, from worker processes too, and judges them at the end."""

    def __init__(self, allowed_path: Path = ALLOWED_SKIPS) -> None:
        self.skips: set[tuple[str, str]] = set()
        self.allowed = read_allowed_skips(allowed_path)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skips.add((report.nodeid, _reason(report)))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skips.add((report.nodeid, _reason(report)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        # A whole file that skips itself is seen by the worker only.
        self.skips.update(
            tuple(pair) for pair in getattr(node, "workeroutput", {}).get("skips", [])
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["skips"] = sorted(self.skips)
        elif self._unexpected() and os.environ.get("CI") and session.exitstatus in (0, 5):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.skips:
            return
        unexpected = self._unexpected()
        terminalreporter.section(f"{len(self.skips)} skipped, {len(unexpected)} not allowed")
        for pair in sorted(self.skips):
            mark = "NOT ALLOWED" if pair in unexpected else "allowed"
            terminalreporter.write_line(f"{mark}: {pair[0]}: {pair[1]}")
        if unexpected and os.environ.get("CI"):
            terminalreporter.write_line(
                f"In CI a skip must be listed in tests/{ALLOWED_SKIPS.name}: the run fails."
            )

    def _unexpected(self) -> set[tuple[str, str]]:
        return {pair for pair in self.skips if not is_allowed(*pair, self.allowed)}


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
