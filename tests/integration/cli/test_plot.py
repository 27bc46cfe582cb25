"""`pytest-linearity plot`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_linearity.cli import main
from pytest_linearity.report.json import write_json
from pytest_linearity.verdict.document import Report
from tests.support.fixtures import Call
from tests.support.reports import report, series

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a report of a checkpoint, and those of three of one run."""
    monkeypatch.chdir(tmp_path)
    write_json(report(), Path("one.json"))
    for result in series((9, 10, 100)):
        write_json(result.report, Path(f"{result.label}.json"))
    return tmp_path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is drawn, instead of drawing it."""
    seen: list[object] = []

    class Taken:
        def __init__(self, what: object, title: str | None) -> None:
            self.what, self.title = what, title

        def save(self, path: Path) -> None:
            seen.extend([self.what, str(path), self.title])

    monkeypatch.setattr("pytest_linearity.report.plot.report_drawing", Taken)
    monkeypatch.setattr("pytest_linearity.report.plot.series_drawing", Taken)
    monkeypatch.setattr("pytest_linearity.report.plot.beside_drawing", Taken)
    return seen


def test_one_report(here: Path, capsys: Captured) -> None:
    assert main(["plot", "one.json"]) == 0
    assert (here / "linearity.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == "plot: linearity.png\n"


def test_several_reports(here: Path) -> None:
    paths = [str(path) for path in sorted(here.glob("checkpoint-*.json"))]
    assert main(["plot", *paths, "-o", "new/series.svg"]) == 0
    assert (here / "new" / "series.svg").read_bytes().startswith(b"<?xml")


def test_several_reports_come_in_the_order_of_their_steps(drawn: list[object]) -> None:
    main(["plot", "checkpoint-10.json", "checkpoint-100.json", "checkpoint-9.json"])
    results, _, title = drawn
    assert [result.step for result in results] == [9, 10, 100]  # type: ignore[attr-defined]
    assert title == "3 checkpoints"


def test_reports_side_by_side(here: Path) -> None:
    assert main(["plot", "--beside", "one.json", "checkpoint-9.json", "-o", "both.png"]) == 0
    assert (here / "both.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("names", [["one.json"], ["one.json", "checkpoint-9.json"]])
def test_side_by_side_takes_the_reports_as_they_come(names: list[str], drawn: list[object]) -> None:
    main(["plot", "--beside", *names, "--title", "mine"])
    results, path, title = drawn
    assert [str(r.name) for r in results] == names  # type: ignore[attr-defined]
    assert (path, title) == ("linearity.png", "mine")


def test_reports_of_checkpoints_of_one_name_are_called_by_their_files(
    drawn: list[object],
) -> None:
    write_json(report(path="a/checkpoint-1"), Path("b-run.json"))
    write_json(report(path="b/checkpoint-1"), Path("a-run.json"))
    main(["plot", "b-run.json", "a-run.json", "--title", "both runs"])
    results, _, title = drawn
    assert [r.short for r in results] == ["b-run", "a-run"]  # type: ignore[attr-defined]
    assert title == "both runs"


def test_the_report_that_was_read_is_what_is_drawn(drawn: list[object]) -> None:
    main(["plot", "one.json", "--title", "mine", "-o", "x.pdf"])
    found, path, title = drawn
    assert isinstance(found, Report)
    assert found == report()
    assert (path, title) == ("x.pdf", "mine")


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        (["none.json"], "none.json: there is no such report"),
        (["text.txt"], "not JSON"),
        (["one.json", "-o", "x.gif"], ".png, .svg or .pdf"),
        (["one.json", "-o", "text.txt/x.png"], "--output must name a writable place"),
        (["one.json", "none.json"], "none.json"),
        ([], "REPORT"),
    ],
)
def test_input_that_cannot_be_used(
    arguments: list[str], mentioned: str, here: Path, call: Call
) -> None:
    (here / "text.txt").write_text("text")
    before = set(here.iterdir())
    code, _, errors = call("plot", *arguments)
    assert code == 4
    error = errors.splitlines()[-1]
    assert error.startswith("error: ")
    assert mentioned in error
    assert set(here.iterdir()) == before


def test_without_matplotlib(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_linearity.report.plot.files.find_spec", lambda name: None)
    assert main(["plot", "one.json"]) == 4
    assert "pip install 'pytest-linearity[plot]'" in capsys.readouterr().err


def test_help(call: Call) -> None:
    code, shown, _ = call("plot", "--help")
    assert code == 0
    assert "exit code" in shown
    assert "linearity.png" in shown
