"""Lists and patterns of checkpoints: which, in what order, called what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_linearity.checkpoint.files import training_step
from pytest_linearity.config.config import Config
from pytest_linearity.config.expansion import checkpoints_of
from pytest_linearity.config.loading import load_config
from pytest_linearity.errors import ConfigError


@pytest.fixture
def saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three checkpoints of a run, and a file that is none; the tests run beside them."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "saves" / "run"
    for step in (9, 10, 100):
        (run / f"checkpoint-{step}").mkdir(parents=True)
    (run / "checkpoint-50").touch()
    return run


def config(named: object, **keys: object) -> Config:
    return Config(model_name_or_path=named, **keys)  # type: ignore[arg-type]


def named(named: object, **keys: object) -> list[tuple[str, str | None]]:
    found = checkpoints_of(config(named, **keys))
    return [(each.checkpoint, each.label) for each in found]


def refusal(value: object, **keys: object) -> str:
    with pytest.raises(ConfigError) as caught:
        checkpoints_of(config(value, **keys))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("model_name_or_path: ")
    return message


RUN = [(f"saves/run/checkpoint-{step}", f"checkpoint-{step}") for step in (9, 10, 100)]


def test_one_that_is_named_plainly_is_the_config_itself(saves: Path) -> None:
    for name in ("saves/run/checkpoint-9", "org/model", "nowhere"):
        plain = config(name)
        assert checkpoints_of(plain) == (plain,)
        assert plain.label is None


@pytest.mark.usefixtures("saves")
def test_a_pattern_matches_directories_in_the_order_of_their_numbers() -> None:
    assert named("saves/run/checkpoint-*") == RUN
    assert named("saves/*/checkpoint-1*") == RUN[1:]
    assert named("saves/**/checkpoint-?") == RUN[:1]


@pytest.mark.usefixtures("saves")
def test_a_list_keeps_its_order() -> None:
    paths = [path for path, _ in RUN]
    assert named(paths[::-1]) == RUN[::-1]
    assert named([paths[2]]) == RUN[2:]


@pytest.mark.usefixtures("saves")
def test_a_list_may_hold_patterns_and_what_is_not_there() -> None:
    assert named(["org/base", "saves/run/checkpoint-*", "gone"]) == [
        ("org/base", "base"),
        *RUN,
        ("gone", "gone"),
    ]


def test_a_pattern_is_looked_up_where_the_run_was_started_then_beside_the_yaml(
    saves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "configs" / "gate.yaml"
    (source.parent / "other" / "checkpoint-1").mkdir(parents=True)
    source.write_text("model_name_or_path: other/*\n")
    [found] = checkpoints_of(load_config(source))
    assert found.locate(found.checkpoint) == source.parent / "other" / "checkpoint-1"
    (tmp_path / "other" / "checkpoint-2").mkdir(parents=True)
    [found] = checkpoints_of(load_config(source))
    assert found.locate(found.checkpoint) == tmp_path / "other" / "checkpoint-2"


def test_an_absolute_pattern(saves: Path) -> None:
    assert [label for _, label in named(f"{saves}/checkpoint-*")] == [label for _, label in RUN]
    assert " in " not in refusal(f"{saves}/nothing-*")


def test_a_directory_with_brackets_in_its_name_is_no_pattern(saves: Path) -> None:
    (saves / "run[1]").mkdir()
    assert named("saves/run/run[1]") == [("saves/run/run[1]", None)]


def test_the_other_keys_are_those_of_the_config(saves: Path) -> None:
    every = config("saves/run/*", radii=[0.5], source=Path("gate.yaml"))
    for each in checkpoints_of(every):
        assert each.radii == (0.5,)
        assert each.source == Path("gate.yaml")
        assert each.to_dict()["model_name_or_path"] == each.checkpoint
    assert config(["a", "b"]).to_dict()["model_name_or_path"] == ["a", "b"]


@pytest.mark.usefixtures("saves")
def test_checkpoints_of_the_same_name_are_told_apart() -> None:
    for run in ("first", "second"):
        Path(run, "checkpoint-9").mkdir(parents=True)
    labels = [label for _, label in named(["first/checkpoint-9", "second/checkpoint-9"])]
    assert labels == ["first-checkpoint-9", "second-checkpoint-9"]


class TestRefused:
    def test_a_pattern_that_matches_nothing(self, saves: Path, tmp_path: Path) -> None:
        message = refusal("saves/run/step-*")
        assert "'saves/run/step-*' matches no directory" in message
        assert str(tmp_path) in message

    def test_it_names_both_places(self, saves: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            checkpoints_of(config("x-*", source=tmp_path / "configs" / "gate.yaml"))
        assert f"in {tmp_path} and {tmp_path / 'configs'}" in str(caught.value)

    def test_a_pattern_that_matches_files_only(self, saves: Path) -> None:
        assert "matches no directory" in refusal("saves/run/checkpoint-5*")

    def test_an_empty_list(self) -> None:
        assert "is an empty list" in refusal([])

    @pytest.mark.parametrize("entry", [3, None, "", "a\nb", ["a"]])
    def test_an_entry_that_is_no_path(self, entry: object) -> None:
        refusal(["a", entry])

    def test_the_same_twice(self, saves: Path) -> None:
        assert "'a' is repeated" in refusal(["a", "a"])
        message = refusal(["saves/run/checkpoint-9", "./saves/run/checkpoint-9/"])
        assert "named twice, as 'saves/run/checkpoint-9' too" in message
        assert "named twice" in refusal(["saves/run/*", "saves/*/checkpoint-9"])

    def test_several_where_one_is_needed(self) -> None:
        with pytest.raises(ConfigError, match="names several checkpoints"):
            _ = config(["a", "b"]).checkpoint


class TestTrainingStep:
    def test_is_what_the_trainer_says(self, saves: Path) -> None:
        state = saves / "checkpoint-9" / "trainer_state.json"
        state.write_text(json.dumps({"global_step": 2500}))
        assert training_step(config("saves/run/checkpoint-9")) == 2500

    @pytest.mark.parametrize("content", ["{", "[]", "{}", '{"global_step": "x"}', "\udc80"])
    def test_or_else_the_number_of_its_name(self, content: str, saves: Path) -> None:
        state = saves / "checkpoint-100" / "trainer_state.json"
        state.write_text(content, errors="surrogateescape")
        assert training_step(config("saves/run/checkpoint-100/")) == 100

    @pytest.mark.parametrize(
        ("name", "step"), [("run-v2-final", None), ("org/m_7", 7), ("9/x", None)]
    )
    def test_of_a_name_alone(self, name: str, step: int | None) -> None:
        assert training_step(config(name)) == step
