"""Which files are written, and what becomes of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_linearity.errors import ConfigError, LinearityError
from pytest_linearity.report.outputs import Outputs, Written
from pytest_linearity.report.plot import Drawing
from pytest_linearity.report.results import Failure, Result
from tests.support.reports import measured, series


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are empty files, where only their names matter."""
    monkeypatch.setattr(Drawing, "save", lambda _, path: path.touch(exist_ok=False))


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


class TestBeforeMeasuring:
    def test_leaves_no_trace(self, here: Path) -> None:
        new = Path("new")
        Outputs(new / "a.md", new / "a.png", new / "a.html", new / "s.md").require_writable()
        assert not names(here)

    def test_each_place_is_named_by_its_option(self, here: Path) -> None:
        (here / "file").touch()
        for key, what in (
            ("markdown", "Markdown summary"),
            ("plot", "plot"),
            ("html", "HTML report"),
        ):
            outputs = Outputs(**{key: Path("file/x.svg")})
            with pytest.raises(ConfigError, match=f"x.svg: the {what} cannot.*--linearity-{key} "):
                outputs.require_writable()

    def test_a_directory(self) -> None:
        with pytest.raises(ConfigError, match="directory; the HTML report needs the name"):
            Outputs(html=Path()).require_writable()

    def test_a_file_of_the_run_is_not_overwritten(self) -> None:
        with pytest.raises(ConfigError, match=r"--linearity-html: gate.yaml is a file of this run"):
            Outputs(html=Path("gate.yaml")).require_writable([Path("gate.yaml").absolute()])
        with pytest.raises(ConfigError, match=r"x\.svg is what --linearity-html writes"):
            Outputs(html=Path("x.svg"), plot=Path("x.svg")).require_writable()

    def test_an_unknown_suffix(self) -> None:
        with pytest.raises(ConfigError, match=r"plot.bmp: a plot's suffix is .*, not \.bmp"):
            Outputs(plot=Path("plot.bmp")).require_writable()

    @pytest.mark.parametrize("key", ["plot", "html"])
    def test_without_matplotlib(self, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pytest_linearity.report.plot.files.find_spec", lambda name: None)
        Outputs(markdown=Path("x.md")).require_writable()
        with pytest.raises(ConfigError, match=r"pip install 'pytest-linearity\[plot\]'"):
            Outputs(**{key: Path("x.svg")}).require_writable()

    def test_the_step_summary_is_not_the_users(self, here: Path) -> None:
        Outputs(step_summary=Path("missing") / "s.md").require_writable()


class TestWriting:
    def test_one_checkpoint(self, here: Path) -> None:
        written = Outputs(Path("a.md"), Path("new/a.png"), Path("a.html")).write([measured()])
        assert (here / "a.md").read_text().startswith("## ❌ linearity")
        assert (here / "a.html").read_text().startswith("<!DOCTYPE html>")
        assert (here / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
        assert written.lines == ["also written: a.md, a.html, new/a.png"]

    def test_nothing_asked_for(self, here: Path) -> None:
        assert Outputs().write([measured()]) == Written()
        assert not names(here)

    def test_nothing_measured(self, here: Path) -> None:
        assert Outputs(Path("a.md"), Path("a.png"), Path("a.html"), Path("s.md")).write([]) == (
            Written()
        )
        assert not names(here)

    def test_nothing_could_be_measured(self, here: Path) -> None:
        broken = Failure("gate.yaml", None, "cut short")
        Outputs(Path("a.md"), Path("a.png"), Path("a.html")).write([], [broken])
        assert names(here) == {"a.md", "a.html"}

    def test_checkpoints_of_one_config(self, here: Path, undrawn: None) -> None:
        Outputs(plot=Path("p.svg")).write(series((1, 2)))
        assert names(here) == {"p.svg", "p-checkpoint-1.svg", "p-checkpoint-2.svg"}

    def test_several_configs(self, here: Path, undrawn: None) -> None:
        results = [
            measured(name="a/gate.yaml"),
            measured(name="b.yaml"),
            *series((1, 2), name="c.yaml"),
        ]
        Outputs(plot=Path("p.svg")).write(results)
        assert names(here) == {
            "p-a-gate.svg",
            "p-b.svg",
            "p-c.svg",
            "p-c-checkpoint-1.svg",
            "p-c-checkpoint-2.svg",
        }

    def test_names_that_no_file_could_have(self, here: Path, undrawn: None) -> None:
        labels = ["../up", "a/b", "a b", "/"]
        results = [Result("gate.yaml", label, None, measured().report) for label in labels]
        Outputs(plot=Path("p.svg")).write(results)
        assert names(here) == {
            "p.svg",
            "p-up.svg",
            "p-a-b.svg",
            "p-a-b-2.svg",
            "p-checkpoint.svg",
        }

    def test_one_that_fails_keeps_none_of_the_others_back(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (here / "file").touch()
        outputs = Outputs(Path("file/a.md"), Path("a.png"), Path("file/a.html"), Path("s.md"))
        with pytest.raises(LinearityError, match=r"file/a.md: could not.*; file/a.html: could not"):
            outputs.write([measured()])
        assert names(here) == {"file", "a.png", "s.md"}


class TestStepSummary:
    def test_is_added_to_what_is_there(self, here: Path) -> None:
        (here / "s.md").write_text("# earlier\n")
        outputs = Outputs(step_summary=Path("s.md"))
        for _ in range(2):
            assert outputs.write([measured()]) == Written()
        text = (here / "s.md").read_text()
        assert text.startswith("# earlier\n## ❌")
        assert text.count("## ❌ linearity: gate.yaml fails") == 2
        assert text.endswith("</details>\n\n")

    def test_a_place_that_cannot_be_written_fails_nothing(self) -> None:
        written = Outputs(step_summary=Path("missing/s.md")).write([measured()])
        [line] = written.lines
        assert line.startswith("GITHUB_STEP_SUMMARY: the summary could not be added (No such")

    def test_one_that_github_would_refuse_is_left_out(self, here: Path) -> None:
        (here / "s.md").write_text("x" * (1024 * 1024 - 100))
        written = Outputs(step_summary=Path("s.md")).write([measured()])
        assert written.notes == (
            "GITHUB_STEP_SUMMARY: the summary is left out, as it is above 1 MiB",
        )
        assert (here / "s.md").stat().st_size == 1024 * 1024 - 100

    def test_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        assert Outputs.asked_for() == Outputs()
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", "")
        assert Outputs.asked_for() == Outputs()
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/x/s.md")
        assert Outputs.asked_for() == Outputs(step_summary=Path("/x/s.md"))
