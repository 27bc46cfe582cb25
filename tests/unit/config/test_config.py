"""Configs: what is read from where, and what wins."""

from __future__ import annotations

import json
import warnings
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from pytest_linearity.config.config import KEYS, Config
from pytest_linearity.config.loading import load_config
from tests.support.configs import SFT, refusal, write


def test_only_the_checkpoint_is_required(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "model_name_or_path: ckpt"))
    assert config.model_name_or_path == "ckpt"
    assert config.radii == (0.1, 0.3, 1.0)
    assert (config.cos_threshold, config.relerr_threshold) == (0.95, 0.20)
    assert (config.num_directions, config.seed, config.perturbation_std) == (8, 42, 1e-3)
    assert (config.cutoff_len, config.batch_size, config.param_scope) == (2048, 8, "full")
    assert (config.precision, config.device, config.finetuning_type) == ("auto", "auto", "full")
    assert (config.output_dir, config.report_filename) == (".", "linearity_report.json")
    assert config.min_linearity_radius is config.prompts is config.dataset is None


def test_a_config_is_frozen_and_every_field_is_documented(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "model_name_or_path: ckpt"))
    with pytest.raises(FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]
    assert {field.name for field in fields(Config)} == {
        *KEYS,
        "source",
        "started_in",
        "base_named_by",
        "label",
        "scope_label",
        "metric_source",
    }


def test_to_dict_holds_every_key_in_effect_and_is_json(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, "model_name_or_path: ckpt\ncolumns: {prompt: q}\ndataset: a,b")
    )
    described = config.to_dict()
    assert tuple(described) == KEYS
    assert described["columns"] == {"prompt": "q"}
    assert described["dataset"] == ["a", "b"]
    again = Config(**json.loads(json.dumps(described, allow_nan=False)))
    assert again.to_dict() == described


def test_a_whole_sft_config_works_with_our_keys_at_the_root(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load_config(write(tmp_path, SFT + "radii: [0.1, 3]\nnum_directions: 4\n"))
    assert config.model_name_or_path == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert config.dataset == ("identity", "alpaca_en_demo")
    assert (config.max_samples, config.template) == (1000, "llama3")
    assert config.trust_remote_code is True
    assert config.output_dir == "saves/llama3-8b/full/sft"
    assert (config.radii, config.num_directions) == ((0.1, 3.0), 4)


def test_a_whole_sft_config_works_with_our_keys_under_analysis_and_those_win(
    tmp_path: Path,
) -> None:
    section = "analysis:\n  model_name_or_path: saves/run\n  max_samples: 16\n  seed: 7\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load_config(write(tmp_path, SFT + section))
    assert config.model_name_or_path == "saves/run"
    assert (config.max_samples, config.seed) == (16, 7)
    assert config.template == "llama3"  # not in the section, so the root's


def test_null_under_analysis_unsets_a_root_key(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, SFT + "analysis: {dataset: null, template: null}"))
    assert config.dataset is None
    assert config.template is None


def test_an_empty_analysis_section_is_no_section(tmp_path: Path) -> None:
    assert (
        load_config(write(tmp_path, "model_name_or_path: a\nanalysis:\n")).model_name_or_path == "a"
    )


def test_prompts_under_analysis_win_over_a_root_dataset_and_the_other_way(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, SFT + "analysis: {prompts: [hello]}"))
    assert (config.prompts, config.dataset) == (("hello",), None)
    text = "model_name_or_path: a\nprompts: [hello]\nanalysis: {dataset: d}"
    config = load_config(write(tmp_path, text))
    assert (config.prompts, config.dataset) == (None, ("d",))
    config = load_config(write(tmp_path, text), ["prompts=[from, here]"])
    assert (config.prompts, config.dataset) == (("from", "here"), None)


@pytest.mark.parametrize("indent", ["", "  "])
def test_prompts_and_dataset_at_one_level_are_refused(tmp_path: Path, indent: str) -> None:
    keys = f"{indent}prompts: [a]\n{indent}dataset: d\n"
    section = "analysis:\n" if indent else ""
    message = refusal(write(tmp_path, f"model_name_or_path: a\n{section}{keys}"))
    assert "prompts is given together with dataset" in message


def test_overrides_win_over_both_levels_and_repeat(tmp_path: Path) -> None:
    path = write(tmp_path, "model_name_or_path: a\nseed: 1\nanalysis: {seed: 2, radii: [5]}")
    config = load_config(path, ["radii=[0.1, 1.0]", "seed=3", "analysis.batch_size=2"])
    assert (config.radii, config.seed, config.batch_size) == ((0.1, 1.0), 3, 2)
    config = load_config(path, ["seed=3", "seed=4", "columns.prompt=q", "prompts=[a=b]"])
    assert (config.seed, config.columns, config.prompts) == (4, {"prompt": "q"}, ("a=b",))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("raddi=[1]", "did you mean radii?"),
        ("nothing_like_it=1", "there is no key 'nothing_like_it'"),
        ("radii", "not of the form key=value"),
        ("=1", "not of the form key=value"),
        ("radii=[", "override 'radii=['"),
        ("radii=\n[", "override"),
        ("radii=[-1]", "radii: -1 is not above zero"),
    ],
)
def test_bad_overrides_are_refused(tmp_path: Path, override: str, words: str) -> None:
    assert words in refusal(write(tmp_path, "model_name_or_path: a"), override)


def test_interpolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT", "/runs/7")
    monkeypatch.setenv("SEED", "11")
    config = load_config(
        write(
            tmp_path,
            "root: ${oc.env:CHECKPOINT}\nmodel_name_or_path: ${root}/final\n"
            "analysis: {seed: '${oc.env:SEED}', output_dir: '${model_name_or_path}/report'}",
        )
    )
    assert config.model_name_or_path == "/runs/7/final"
    assert config.output_dir == "/runs/7/final/report"
    assert config.seed == 11


@pytest.mark.parametrize("text", ["${", "${nowhere}", "${oc.env:NOT_SET_AT_ALL}", "${seed"])
def test_interpolation_that_fails_is_one_line_that_names_the_key(tmp_path: Path, text: str) -> None:
    message = refusal(write(tmp_path, f"model_name_or_path: a\nprompts: ['{text}']"))
    assert "prompts" in message
    assert r"write \${ for a literal ${" in message


def test_a_literal_dollar_brace_is_written_with_a_backslash(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "model_name_or_path: a\nprompts: ['echo \\${HOME}']"))
    assert config.prompts == ("echo ${HOME}",)


def test_keys_that_are_not_ours_may_hold_anything(tmp_path: Path) -> None:
    text = "model_name_or_path: a\nx: ${\ny: ${nowhere}\nz: &z [*z]\nd: 2020-01-01\n1: 2\nnull: 3\n"
    assert load_config(write(tmp_path, text)).model_name_or_path == "a"
