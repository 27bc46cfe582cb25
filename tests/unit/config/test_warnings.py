"""What a config is warned about, and what it is not."""

from __future__ import annotations

import warnings
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from pytest_linearity.config.config import KEYS, ConfigWarning, load_config
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


def test_well_known_training_keys_are_no_misspellings(tmp_path: Path) -> None:
    from transformers import GenerationConfig, Seq2SeqTrainingArguments

    known = {field.name for field in fields(Seq2SeqTrainingArguments)}
    known |= set(GenerationConfig().to_dict())
    known |= {"dataset_shards", "tokenized_path", "eval_dataset", "stage", "val_size", "packing"}
    known |= {"max_steps", "task_dir", "device_map", "template", "export_dir", "lora_rank"}
    document = dict.fromkeys(known - set(KEYS) - {"quantization_config"}, 1)
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
