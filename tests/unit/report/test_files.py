"""Reports on disk: whole or not at all, each in its own place."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.errors import ConfigError, LinearityError
from pytest_linearity.files import brief, fitting, require_writable, write_whole
from pytest_linearity.report.json import write_json
from pytest_linearity.report.outputs import _free
from pytest_linearity.report.places import report_places
from pytest_linearity.verdict.document import Report
from tests.support.figures import radius_figures


def report(error: float | None = 0.12) -> Report:
    figures = radius_figures(0.3, (error, 0.04), (0.97, 0.01), 4e-4, complies=True)
    return Report(
        config={"radii": [0.3], "default_system": "Größe"},
        checkpoint={"path": "x", "architecture": "y", "parameters": 1, "dtype": "bfloat16"},
        radii=(figures,),
        linearity_radius=0.3,
        passed=True,
        environment={"seconds": 1.5},
    )


class TestJson:
    def test_is_the_report(self, tmp_path: Path) -> None:
        write_json(report(), tmp_path / "report.json")
        text = (tmp_path / "report.json").read_text(encoding="utf-8")
        assert text.endswith("}\n")
        assert "Größe" in text
        assert json.loads(text) == report().to_dict()
        assert json.loads(text)["metrics"]["0.3"]["mean_relative_error"] == 0.12

    def test_says_null_for_a_figure_that_is_not_defined(self, tmp_path: Path) -> None:
        write_json(report(error=None), tmp_path / "report.json")
        document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        assert document["metrics"]["0.3"]["mean_relative_error"] is None

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_never_holds_what_is_not_json(self, value: float, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="JSON"):
            write_json(report(error=value), tmp_path / "report.json")
        assert not list(tmp_path.iterdir())


class TestWriteWhole:
    def test_makes_missing_directories(self, tmp_path: Path) -> None:
        write_whole(tmp_path / "a" / "b" / "file", "text")
        assert (tmp_path / "a" / "b" / "file").read_text() == "text"

    def test_replaces_and_leaves_nothing_beside(self, tmp_path: Path) -> None:
        for text in ("first", "second"):
            write_whole(tmp_path / "file", text)
        assert (tmp_path / "file").read_text() == "second"
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_keeps_the_old_file_when_the_new_one_cannot_be_finished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_whole(tmp_path / "file", "old")

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(LinearityError, match=r"file: could not be written \(No space left"):
            write_whole(tmp_path / "file", "new")
        assert (tmp_path / "file").read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_is_never_seen_half_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_whole(tmp_path / "file", "old")
        seen = []
        replace = os.replace

        def look(source: Path, target: Path) -> None:
            seen.append((Path(source).read_text(), Path(target).read_text()))
            replace(source, target)

        monkeypatch.setattr(os, "replace", look)
        write_whole(tmp_path / "file", "new")
        assert seen == [("new", "old")]

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "target")
        write_whole(tmp_path / "link", "text")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "target").read_text() == "text"

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_a_pipe_stays_a_pipe(self, tmp_path: Path) -> None:
        # Not a device: code that is broken would replace one that the whole machine uses.
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            write_whole(pipe, "text")
            assert os.read(reader, 10) == b"text"
        finally:
            os.close(reader)
        assert pipe.is_fifo()

    def test_is_readable_by_others_as_any_new_file(self, tmp_path: Path) -> None:
        (tmp_path / "usual").touch()
        write_whole(tmp_path / "file", "text")
        assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


class TestRequireWritable:
    def test_leaves_no_trace(self, tmp_path: Path) -> None:
        require_writable(tmp_path / "new" / "report.json")
        require_writable(tmp_path / "report.json")
        assert not list(tmp_path.iterdir())

    def test_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="directory"):
            require_writable(tmp_path)

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match="report cannot be written here"):
            require_writable(tmp_path / "file" / "report.json")

    @pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a place nobody can write")
    def test_where_not_even_root_may(self) -> None:
        with pytest.raises(ConfigError, match="/proc/none"):
            require_writable(Path("/proc/none/report.json"))


class TestLongNames:
    """What `require_writable` says beforehand is what `write_whole` finds later."""

    @pytest.mark.parametrize("letter", ["x", "ä", "😀"])
    @pytest.mark.parametrize("bytes_", range(243, 260))
    @pytest.mark.parametrize("parts", [("{}",), ("{}", "file"), ("new", "{}", "file")])
    def test_is_found_before(
        self, parts: tuple[str, ...], bytes_: int, letter: str, tmp_path: Path
    ) -> None:
        name = letter * (bytes_ // len(letter.encode()))
        name += "x" * (bytes_ - len(name.encode()))
        path = tmp_path.joinpath(*(part.format(name) for part in parts))
        if bytes_ <= 255:
            require_writable(path)
            assert not list(tmp_path.iterdir())
            write_whole(path, "text")
            assert path.read_text() == "text"
            return
        with pytest.raises(ConfigError, match=r"written here .File name too long") as e:
            require_writable(path)
        assert len(str(e.value)) < 500
        assert not list(tmp_path.iterdir())
        with pytest.raises(LinearityError, match="File name too long"):
            write_whole(path, "text")

    def test_of_the_whole_path(self, tmp_path: Path) -> None:
        path = tmp_path.joinpath(*["x" * 200] * 25)
        with pytest.raises(ConfigError, match="too long"):
            require_writable(path)

    @pytest.mark.parametrize("over", range(-30, 2))
    @pytest.mark.parametrize("name", ["z", "z" * 90])
    def test_of_a_path_at_the_limit(self, name: str, over: int, tmp_path: Path) -> None:
        """The temporary file beside it needs a path, too, and may have a longer name."""
        longest = os.pathconf(tmp_path, "PC_PATH_MAX") - 1
        path = tmp_path / "d"
        while len(str(path)) < longest - 300:
            path /= "x" * 150
        path = path / ("y" * (longest + over - len(str(path)) - len(name) - 2)) / name
        assert len(str(path)) == longest + over
        try:
            require_writable(path)
        except ConfigError:
            with pytest.raises(LinearityError, match="too long"):
                write_whole(path, "text")
        else:
            write_whole(path, "text")

    @pytest.mark.parametrize("stem", ["x" * 400, "ä" * 200, "a" + "ä" * 200, "😀" * 99])
    def test_of_our_own_are_cut(self, stem: str, tmp_path: Path) -> None:
        name, other = fitting(stem, ".json"), fitting(f"{stem}y", ".json")
        assert 250 < len(name.encode()) <= 255
        assert name.endswith(".json")
        assert name[:50] == other[:50] == stem[:50]
        assert name != other
        write_whole(tmp_path / name, "text")

    def test_of_plots_are_cut_and_stay_apart(self, tmp_path: Path) -> None:
        used: set[Path] = set()
        for _ in range(3):
            write_whole(_free(tmp_path / "plot.png", ["x" * 300], used), "picture")
        assert len(used) == len(list(tmp_path.glob("plot-xxx*.png"))) == 3

    def test_of_our_own_that_fit_are_kept(self) -> None:
        assert fitting("x" * 250, ".json") == "x" * 250 + ".json"
        assert fitting("report-full") == "report-full"


class TestPlaces:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def config(self, source: str, **keys: str) -> Config:
        return Config(model_name_or_path="checkpoint", source=Path(source), **keys)

    def places(self, *configs: Config, override: Path | None = None) -> list[str]:
        return [str(brief(place)) for place in report_places(configs, override)]

    def test_one_config(self) -> None:
        assert self.places(self.config("gate.yaml")) == ["linearity_report.json"]
        keys = {"output_dir": "out", "report_filename": "figures.json"}
        assert self.places(self.config("gate.yaml", **keys)) == ["out/figures.json"]
        assert self.places(self.config("gate.yaml"), override=Path("x.json")) == ["x.json"]

    def test_configs_that_would_share_a_file_get_one_each(self) -> None:
        both = self.config("a.yaml"), self.config("b.yaml")
        assert self.places(*both) == ["linearity_report-a.json", "linearity_report-b.json"]
        assert self.places(*both, override=Path("x.json")) == ["x-a.json", "x-b.json"]

    def test_configs_of_the_same_name(self) -> None:
        both = self.config("one/gate.yaml"), self.config("two/gate.yaml")
        assert self.places(*both, override=Path("x.json")) == ["x-one-gate.json", "x-two-gate.json"]

    def test_configs_with_places_of_their_own_keep_them(self) -> None:
        configs = (
            self.config("a.yaml"),
            self.config("b.yaml", output_dir="out"),
            self.config("c.yaml"),
        )
        assert self.places(*configs) == [
            "linearity_report-a.json",
            "out/linearity_report.json",
            "linearity_report-c.json",
        ]

    def test_places_that_cannot_be_told_apart_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"gate.yaml and gate.yml: both would write"):
            self.places(self.config("gate.yaml"), self.config("gate.yml"))

    def test_of_long_labels_are_cut_and_stay_apart(self) -> None:
        labels = [f"checkpoint-{'x' * 250}{number}" for number in range(2)]
        config = self.config("gate.yaml")
        places = self.places(*(replace(config, label=label) for label in labels))
        assert len(set(places)) == 2
        for place in places:
            assert place.startswith("linearity_report-checkpoint-xxx")
            assert place.endswith(".json")
            write_whole(Path(place), "{}")

    def test_a_long_name_that_somebody_chose_is_not_cut(self) -> None:
        with pytest.raises(ConfigError, match="File name too long"):
            self.places(self.config("gate.yaml", report_filename="x" * 300))

    def test_a_config_is_never_overwritten(self) -> None:
        with pytest.raises(ConfigError, match="overwrite"):
            self.places(self.config("gate.yaml"), override=Path("gate.yaml"))
