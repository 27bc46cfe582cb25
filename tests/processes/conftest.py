"""Workers of pytest-xdist; and all tests of this folder are slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import Run

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def run_workers(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Runs pytest here and its workers in processes of their own; stderr is that of all of them.

    The controller needs no imports of its own so, which take longer than its work.
    """
    from pytest_linearity.run.store import findings_file

    def start(*arguments: str) -> pytest.RunResult:
        # A fake replaces it.
        monkeypatch.setattr(findings_file, "_tensor", findings_file._tensor)
        capfd.readouterr()
        found = pytester.runpytest_inprocess(*arguments)
        said = capfd.readouterr().err.splitlines()
        return pytest.RunResult(found.ret, found.outlines, said, found.duration)

    return start
