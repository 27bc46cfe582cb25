"""Which baseline each config has, and which are refused before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.errors import ConfigError, LinearityError
from pytest_linearity.report.json import read_report, write_json
from pytest_linearity.run.baseline import Baseline, find_baselines
from tests.support.paired import report

THEN = report({0.1: [[0.1]] * 2})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    return tmp_path / "start"


def config(baseline: str | None = None, source: Path | None = None, **keys: object) -> Config:
    fitting: dict[str, object] = {"radii": [0.1], "num_directions": 2, **keys}
    return Config(model_name_or_path="x", baseline=baseline, source=source, **fitting)  # type: ignore[arg-type]


def found(asked: Config, override: str | None = None, *, create: bool = False) -> Baseline | None:
    place = asked.report_path
    [baseline] = find_baselines([asked], [place], override, create=create)
    return baseline


def refused(asked: Config, override: str | None = None, *, create: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        found(asked, override, create=create)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestPlaces:
    def test_none_is_asked_for(self) -> None:
        assert found(config()) is None

    def test_where_the_run_was_started(self, here: Path) -> None:
        write_json(THEN, here / "old.json")
        assert found(config("old.json")) == Baseline(here / "old.json", THEN)

    def test_beside_the_yaml_file(self, here: Path) -> None:
        write_json(THEN, here.parent / "configs" / "old.json")
        asked = config("old.json", here.parent / "configs" / "gate.yaml")
        assert found(asked) == Baseline(here.parent / "configs" / "old.json", THEN)

    def test_the_command_line_wins(self, here: Path) -> None:
        write_json(THEN, here / "asked.json")
        baseline = found(config("none.json"), "asked.json")
        assert baseline is not None
        assert baseline.name == "asked.json"

    def test_a_directory_holds_one_for_each(self, here: Path) -> None:
        names = ("report-a.json", "report-b.json")
        for seed, name in enumerate(names):
            write_json(report({0.1: [[0.1]] * 2}, seed=seed), here / "kept" / name)
        configs = [config("kept", seed=seed) for seed in (0, 1)]
        baselines = find_baselines(configs, [here / "out" / name for name in names])
        assert [one.path for one in baselines if one] == [here / "kept" / name for name in names]

    def test_a_file_serves_for_all(self, here: Path) -> None:
        write_json(THEN, here / "old.json")
        configs = [config("old.json"), config("old.json"), config()]
        first, second, third = find_baselines(configs, [None] * 3)
        assert first == second == Baseline(here / "old.json", THEN)
        assert third is None


class TestRefusal:
    def test_missing(self, here: Path) -> None:
        assert refused(config("old.json")) == (
            "old.json: there is no such baseline: name an earlier report, or make this run's "
            "the baseline with --linearity-baseline-missing=create"
        )
        assert refused(config(), "asked.json").startswith("asked.json: there is no such baseline")

    def test_missing_in_its_directory(self, here: Path) -> None:
        (here / "kept").mkdir()
        assert refused(config("kept")).startswith("kept/linearity_report.json: there is no such")

    def test_a_link_to_nothing(self, here: Path) -> None:
        (here / "old.json").symlink_to("gone.json")
        assert "no such report" in refused(config("old.json"), "old.json", create=True)

    @pytest.mark.parametrize(
        ("text", "mentioned"),
        [
            ("{", "this is not JSON"),
            ("{}", "this is not a report of pytest-linearity"),
            ('{"schema_version": 99}', "schema_version 99 is newer"),
        ],
    )
    def test_not_a_report(self, text: str, mentioned: str, here: Path) -> None:
        (here / "old.json").write_text(text)
        for create in (False, True):
            assert mentioned in refused(config("old.json"), create=create)

    def test_of_other_pairs(self, here: Path) -> None:
        write_json(THEN, here / "old.json")
        message = refused(config("old.json", seed=7, radii=[0.1, 0.3]))
        assert message.startswith("old.json: this baseline is not comparable: seed: 7 here, 42 in")
        assert "radii: [0.1, 0.3] here, [0.1] in the baseline" in message

    def test_without_pairs(self, here: Path) -> None:
        write_json(replace(THEN, pairs={}), here / "old.json")
        assert "lacks the figures of single pairs" in refused(config("old.json"))


class TestCreate:
    def test_takes_an_existing_one(self, here: Path) -> None:
        write_json(THEN, here / "old.json")
        assert found(config("old.json"), create=True) == Baseline(here / "old.json", THEN)

    def test_writes_nothing_yet(self, here: Path) -> None:
        baseline = found(config("new/old.json"), create=True)
        assert baseline == Baseline(here / "new" / "old.json", None)
        assert not list(here.iterdir())
        assert baseline is not None
        assert baseline.compare(THEN, 0.1) is None
        baseline.create(THEN)
        assert read_report(here / "new" / "old.json") == THEN
        assert [path.name for path in (here / "new").iterdir()] == ["old.json"]

    def test_never_replaces_one(self, here: Path) -> None:
        write_json(THEN, here / "old.json")
        baseline = found(config("old.json"), create=True)
        assert baseline is not None
        baseline.create(report({0.1: [[0.3]] * 2}))
        assert read_report(here / "old.json") == THEN

    def test_a_name_with_a_slash_is_a_directory(self, here: Path) -> None:
        configs = [config("kept/"), config("kept/")]
        places = [here / "report-a.json", here / "report-b.json"]
        baselines = find_baselines(configs, places, create=True)
        assert [one.name for one in baselines if one] == [
            "kept/report-a.json",
            "kept/report-b.json",
        ]

    def test_one_file_of_several_checkpoints(self, here: Path) -> None:
        with pytest.raises(ConfigError, match=r"old.json: one file cannot .* of 2 checkpoints"):
            find_baselines([config("old.json")] * 2, [None] * 2, create=True)

    def test_a_place_that_cannot_be_written(self, here: Path) -> None:
        (here / "file").touch()
        message = refused(config("file/old.json"), create=True)
        assert "the baseline cannot be written here" in message
        assert "--linearity-baseline" in message

    def test_whole_or_not_at_all(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        baseline = found(config("old.json"), create=True)
        assert baseline is not None

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", fail)
        with pytest.raises(LinearityError, match="No space left"):
            baseline.create(THEN)
        assert not list(here.iterdir())
