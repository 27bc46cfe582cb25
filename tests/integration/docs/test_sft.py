"""The example of a whole fine-tuning config, on the arithmetic checkpoint and its data."""

from __future__ import annotations

import warnings

import pytest
import yaml

from pytest_linearity.config.config import KEYS
from pytest_linearity.config.loading import load_config
from pytest_linearity.run.analysis import analyze
from tests.support.paths import EXAMPLES, ROOT

EXAMPLE = EXAMPLES / "llama_math_linearity.yaml"


def test_it_is_a_whole_training_config() -> None:
    document = yaml.safe_load(EXAMPLE.read_text())
    training = {"stage", "do_train", "learning_rate", "num_train_epochs", "eval_strategy", "bf16"}
    assert training <= set(document)
    assert len(set(document) - set(KEYS) - {"analysis"}) > 20
    assert document["model_name_or_path"] != document["analysis"]["model_name_or_path"]


def test_it_is_read_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load_config(EXAMPLE)
    assert config.model_name_or_path == "examples/arithmetic/healthy"
    assert (config.max_samples, config.cutoff_len, config.output_dir) == (8, 64, ".")


def test_it_runs_on_the_checkpoint_and_both_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    report = analyze(load_config(EXAMPLE, ["num_directions=2", "max_samples=3"])).to_dict()
    rows = [(row["dataset"], row["row"]) for row in report["probes"]["rows"]]
    names = ("arithmetic_sft", "arithmetic_heldout")
    assert rows == [(name, row) for name in names for row in range(3)]
    assert report["probes"]["template"] == "tokenizer"
    assert report["passed"] is True
