"""What a config is warned about, and what it is not."""

from __future__ import annotations

import warnings
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from pytest_linearity.config.config import KEYS, ConfigWarning
from pytest_linearity.config.loading import load_config
from tests.support.configs import write


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("radius", "radii"),
        ("raddii", "radii"),
        ("cosine_threshold", "cos_threshold"),
        ("rel_err_threshold", "relerr_threshold"),
        ("num_direction", "num_directions"),
        ("cutoff_length", "cutoff_len"),
        ("min_linearity_radii", "min_linearity_radius"),
        ("Max-Samples", "max_samples"),
        ("model_name", "model_name_or_path"),
    ],
)
@pytest.mark.parametrize("section", ["", "analysis."])
def test_a_misspelt_key_is_warned_about_by_name(
    tmp_path: Path, written: str, meant: str, section: str
) -> None:
    inner = f"analysis: {{{written}: 1}}" if section else f"{written}: 1"
    with pytest.warns(ConfigWarning) as caught:
        load_config(write(tmp_path, f"model_name_or_path: a\n{inner}"))
    (warning,) = caught
    assert f"{section}{written} is not a key" in str(warning.message)
    assert f"did you mean {meant}?" in str(warning.message)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("Analysis", "did you mean analysis?"),
        ("analisys", "did you mean analysis?"),
        ("linearity", "did you mean analysis?"),
        ("pytest-linearity", "did you mean analysis?"),
    ],
)
def test_a_section_of_another_name_loses_no_limit_without_a_word(
    tmp_path: Path, section: str, said: str
) -> None:
    with pytest.warns(ConfigWarning) as caught:
        load_config(write(tmp_path, f"model_name_or_path: a\n{section}: {{relerr_threshold: 0.1}}"))
    (warning,) = caught
    assert f"{section} is not a section of pytest-linearity, and nothing in it is used" in str(
        warning.message
    )
    assert said in str(warning.message)


def test_a_key_with_a_dot_in_its_name_is_none(tmp_path: Path) -> None:
    with pytest.warns(ConfigWarning, match=r"analysis\.radii is one key with a dot in its name"):
        config = load_config(write(tmp_path, "model_name_or_path: a\nanalysis.radii: [5]"))
    assert config.radii == (0.1, 0.3, 1.0)


def test_a_section_in_our_section(tmp_path: Path) -> None:
    text = "model_name_or_path: a\nanalysis: {analysis: {radii: [5]}}"
    with pytest.warns(ConfigWarning, match="its keys belong directly below analysis"):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize("key", ["verbose", "learning_rate", "report_to"])
def test_in_our_section_every_key_that_is_not_ours_is_told(tmp_path: Path, key: str) -> None:
    with pytest.warns(ConfigWarning, match=rf"analysis\.{key} is not a key of pytest-linearity$"):
        load_config(write(tmp_path, f"model_name_or_path: a\nanalysis: {{{key}: 1}}"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [("analysis_radii", "radii"), ("linearity_seed", "seed"), ("datasets", "dataset")],
)
def test_our_name_before_a_key(tmp_path: Path, written: str, meant: str) -> None:
    with pytest.warns(ConfigWarning, match=f"{written} is not a key .*did you mean {meant}[?]"):
        load_config(write(tmp_path, f"model_name_or_path: a\n{written}: 1"))


def test_sections_of_others_are_left_alone(tmp_path: Path) -> None:
    text = "model_name_or_path: a\ndeepspeed: {stage: 3}\nanalytics: {radii: [1]}\nlora: {r: 8}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(write(tmp_path, text))


def test_well_known_training_keys_are_no_misspellings(tmp_path: Path) -> None:
    from transformers import GenerationConfig, Seq2SeqTrainingArguments

    known = {field.name for field in fields(Seq2SeqTrainingArguments)}
    known |= set(GenerationConfig().to_dict())
    known |= {"dataset_shards", "tokenized_path", "eval_dataset", "stage", "val_size", "packing"}
    known |= {"max_steps", "task_dir", "device_map", "template", "export_dir", "lora_rank"}
    document = dict.fromkeys(known - set(KEYS) - {"quantization_config"}, 1) | {"dataset": "d"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(write(tmp_path, yaml.safe_dump({"model_name_or_path": "a", **document})))


@pytest.mark.parametrize("value", ["fa2", "sdpa"])
def test_flash_attn_is_accepted_and_said_to_have_no_effect(tmp_path: Path, value: str) -> None:
    with pytest.warns(ConfigWarning, match=f"flash_attn: '{value}' has no effect: attention is"):
        load_config(write(tmp_path, f"model_name_or_path: a\nflash_attn: {value}"))


def test_infer_dtype_is_accepted_and_said_to_have_no_effect(tmp_path: Path) -> None:
    with pytest.warns(ConfigWarning, match="infer_dtype: 'float16' has no effect"):
        load_config(write(tmp_path, "model_name_or_path: a\ninfer_dtype: float16"))


def test_values_that_change_nothing_are_not_warned_about(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(write(tmp_path, "model_name_or_path: a\nflash_attn: auto\ninfer_dtype: auto"))
        load_config(write(tmp_path, "model_name_or_path: a\nflash_attn: disabled"))


@pytest.mark.parametrize("key", ["tokenized_path", "eval_dataset", "train_file", "dataset_name"])
def test_data_that_is_not_read_is_named(tmp_path: Path, key: str) -> None:
    text = f"model_name_or_path: a\n{key}: some/thing\n"
    with pytest.warns(ConfigWarning) as caught:
        load_config(write(tmp_path, f"{text}max_samples: 5\ntemplate: qwen"))
    (warning,) = caught
    assert str(warning.message).endswith(
        f"{key}, max_samples, template have no effect: the prompts are the built-in ones (dataset "
        "names data to measure on)"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(write(tmp_path, f"{text}dataset: d\nmax_samples: 5"))
        load_config(write(tmp_path, f"{text}prompts: [a]"))
        load_config(write(tmp_path, f"model_name_or_path: a\n{key}: null"))
        # a whole training config, of which only the prompts are replaced
        load_config(write(tmp_path, f"{text}dataset: d\nsplit: s\nanalysis: {{prompts: [a]}}"))


def test_a_key_of_data_sets_without_one_is_named(tmp_path: Path) -> None:
    with pytest.warns(ConfigWarning, match="split has no effect: the prompts are those under pro"):
        load_config(write(tmp_path, "model_name_or_path: a\nprompts: [b]\nanalysis: {split: s}"))
