"""`param_scopes`: what it takes, what it refuses, and the configs and names that come of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.config.expansion import runs_of
from pytest_linearity.config.loading import load_config
from pytest_linearity.config.scope_labels import scope_labels
from pytest_linearity.errors import ConfigError
from pytest_linearity.report.places import report_places
from tests.support.configs import refusal, write

CHECKPOINT = "model_name_or_path: ckpt\n"


def test_a_config_of_its_own_for_each_scope() -> None:
    config = Config(model_name_or_path="ckpt", param_scopes=["full", "attention+norms"], seed=7)
    first, second = runs_of(config)
    assert (first.param_scope, first.scope_label, first.param_scopes) == ("full", "full", None)
    assert (second.param_scope, second.labels) == ("attention+norms", ("attention+norms",))
    assert second.seed == 7
    # What is reported is what a config of that scope alone has: the two can be compared.
    alone = Config(model_name_or_path="ckpt", param_scope="attention+norms", seed=7)
    assert second.to_dict() == alone.to_dict()


def test_for_each_of_several_checkpoints() -> None:
    config = Config(model_name_or_path=["a", "b"], param_scopes=["full", "mlp"])
    assert [run.labels for run in runs_of(config)] == [
        ("a", "full"),
        ("a", "mlp"),
        ("b", "full"),
        ("b", "mlp"),
    ]


def test_a_single_scope_is_the_config_itself() -> None:
    config = Config(model_name_or_path="ckpt", param_scope="mlp")
    assert runs_of(config) == (config,)
    assert config.labels == ()
    assert config.scope == "mlp"


def test_several_scopes_are_not_one() -> None:
    config = Config(model_name_or_path="ckpt", param_scopes=["full", "mlp"])
    with pytest.raises(
        ConfigError, match=r"param_scopes: names several scopes: .*`runs_of\(config\)`"
    ):
        _ = config.scope


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "param_scopes: is an empty list: name at least one scope"),
        ("full", "param_scopes: 'full' is not a list of scopes, as [full, attention]"),
        ("{a: full}", "param_scopes: {'a': 'full'} is not a list of scopes"),
        ("3", "param_scopes: 3 is not a list of scopes"),
        ("[full, atention]", "'atention' is not a scope (did you mean `attention`?)"),
        ("[full, 3]", "param_scopes: 3 is not text"),
        ("[full, null]", "param_scopes: None is not text"),
        ("[full, 'blocks:3-1']", "'blocks:3-1' ends before it begins"),
        ("[mlp, full, mlp]", "param_scopes: 'mlp' is repeated"),
        ("[mlp+norms, norms+mlp]", "'norms+mlp' is repeated, as 'mlp+norms' too"),
    ],
)
def test_refusals(value: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"{CHECKPOINT}param_scopes: {value}")
    found = refusal(path)
    assert found.startswith(str(path))
    assert message in found


def test_given_together_with_param_scope(tmp_path: Path) -> None:
    both = "param_scope: full\nparam_scopes: [full, mlp]\n"
    found = refusal(write(tmp_path, CHECKPOINT + both))
    assert "param_scopes is given together with param_scope: only one can be used" in found
    with pytest.raises(ConfigError, match=r"param_scopes: is given together with param_scope"):
        Config(model_name_or_path="ckpt", param_scope="mlp", param_scopes=["full"])


def test_the_later_level_wins(tmp_path: Path) -> None:
    section = "param_scope: mlp\nanalysis:\n  param_scopes: [full, norms]\n"
    path = write(tmp_path, CHECKPOINT + section)
    assert load_config(path).param_scopes == ("full", "norms")
    one = load_config(path, ["param_scope=attention"])
    assert (one.param_scope, one.param_scopes) == ("attention", None)
    assert load_config(path, ["param_scopes=[head]"]).param_scopes == ("head",)


def test_labels_can_stand_in_ids_of_tests_and_names_of_files(tmp_path: Path) -> None:
    scopes = ["last_blocks:2", "attention+norms", "regex:[qk]_proj::x$", "regex:(qk)_proj:x"]
    labels = scope_labels(scopes)
    assert labels == [
        "last_blocks:2",
        "attention+norms",
        "regex:-qk-_proj:x",
        "regex:-qk-_proj:x-2",
    ]
    config = Config(model_name_or_path="ckpt", param_scopes=scopes)
    places = report_places(runs_of(config), tmp_path / "out.json")
    assert [place.name for place in places] == [
        "out-last_blocks-2.json",
        "out-attention+norms.json",
        "out-regex-qk-_proj-x.json",
        "out-regex-qk-_proj-x-2.json",
    ]


def test_the_report_is_named_after_checkpoint_and_scope(tmp_path: Path) -> None:
    config = Config(model_name_or_path=["a", "b"], param_scopes=["full", "mlp"])
    places = report_places(runs_of(config), tmp_path / "out.json")
    assert [place.name for place in places] == [
        "out-a-full.json",
        "out-a-mlp.json",
        "out-b-full.json",
        "out-b-mlp.json",
    ]
