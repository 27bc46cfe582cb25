"""Values of a config: what is taken, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.loading import load_config
from tests.support.configs import refusal, write

# Keys of data sets are warned about where no data set is named, which is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::pytest_linearity.config.config.ConfigWarning")


@pytest.mark.parametrize(
    ("key", "written", "expected"),
    [
        ("perturbation_std", "1.0e-5", 1e-5),
        ("perturbation_std", "1e-5", 1e-5),
        ("perturbation_std", "'0.1'", 0.1),
        ("relerr_threshold", "'2e-1'", 0.2),
        ("radii", "['0.3', 1e-1, 1]", (0.1, 0.3, 1.0)),
        ("radii", "0.5", (0.5,)),
        ("radii", "'[0.1, 0.5]'", (0.1, 0.5)),
        ("radii", "0.5,0.1", (0.1, 0.5)),
        ("seed", "'12'", 12),
        ("cutoff_len", "1e3", 1000),
        ("batch_size", "4.0", 4),
        ("trust_remote_code", "'yes'", True),
        ("trust_remote_code", "0", False),
        ("dataset", "a, b", ("a", "b")),
        ("dataset", "[a, 'b,c']", ("a", "b,c")),
        ("prompts", "one prompt", ("one prompt",)),
        ("device", "cuda:1", "cuda:1"),
        ("param_scope", "last_blocks:2", "last_blocks:2"),
        ("relerr_threshold", "0", 0.0),
        ("template_date", "2031-12-01", "2031-12-01"),
        ("template_date", "'2031-12-01'", "2031-12-01"),
        ("enable_thinking", "false", False),
        (
            "chat_template_kwargs",
            "{effort: low, n: [1, {a: null}]}",
            {"effort": "low", "n": [1, {"a": None}]},
        ),
        ("default_system", "''", ""),
    ],
)
def test_values_are_taken_as_meant(tmp_path: Path, key: str, written: str, expected: Any) -> None:
    value = getattr(load_config(write(tmp_path, f"model_name_or_path: a\n{key}: {written}")), key)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("key", "written", "words"),
    [
        ("radii", "[]", "at least one is needed"),
        ("radii", "[0.1, x]", "'x' is not a finite number"),
        ("radii", "[0.1, 0]", "0 is not above zero"),
        ("radii", "[-0.1]", "-0.1 is not above zero"),
        ("radii", "[0.1, 0.10]", "0.1 is repeated"),
        ("radii", "[.nan]", "nan is not a finite number"),
        ("radii", "[.inf]", "inf is not a finite number"),
        ("radii", "['nan']", "'nan' is not a finite number"),
        ("radii", "[true]", "True is not a finite number"),
        ("radii", "{a: 1}", "'a' is not one of gaussian"),
        ("cos_threshold", "1.01", "1.01 is out of range: from -1 to 1"),
        ("cos_threshold", "-2", "out of range"),
        ("relerr_threshold", "-0.1", "-0.1 is out of range: at least 0"),
        ("relerr_threshold", ".inf", "inf is not a finite number"),
        ("perturbation_std", "0", "0 is not above zero"),
        ("min_linearity_radius", "0", "0 is not above zero"),
        ("min_linearity_radius", "5", "5 is above the largest radius, 1"),
        ("param_scope", "last_blocks:0", "'last_blocks:0' is not a scope"),
        ("param_scope", "last_block:1", "last_blocks:k"),
        ("param_scope", "3", "3 is not text"),
        ("prompts", "[]", "is an empty list"),
        ("prompts", "[1]", "entry 1, 1, is not text: quote it"),
        ("prompts", "{a: b}", "is not a list of prompts"),
        ("prompts", '["\\ud800"]', "surrogate"),
        ("dataset", "[]", "names no data set"),
        ("dataset", "''", "names no data set"),
        ("dataset", "[3]", "3 is not text"),
        ("num_directions", "0", "0 is out of range: at least 1"),
        ("num_directions", "2.5", "2.5 is not a whole number"),
        ("num_directions", "true", "True is not a whole number"),
        ("batch_size", "many", "'many' is not a whole number"),
        ("max_samples", "0", "0 is out of range"),
        ("cutoff_len", "0", "0 is out of range"),
        ("seed", "-1", "-1 is out of range"),
        ("seed", "9223372036854775808", "out of range"),
        ("seed", "2020-01-01", "is not a whole number"),
        ("precision", "float16", "not one of auto, float32, float64"),
        ("device", "gpu", "'gpu' is not a device"),
        ("formatting", "chatml", "not one of alpaca, sharegpt, openai"),
        ("columns", "[a]", "is not a mapping of names"),
        ("columns", "{promt: a}", "'promt' is not one of prompt"),
        ("tags", "{role_tag: 1}", "role_tag: 1 is not text"),
        ("trust_remote_code", "maybe", "neither true nor false"),
        ("template_from", "trainer", "'trainer' is not one of tokenizer, config"),
        ("template_date", "today", "'today' is not a day, as 2024-07-26"),
        ("template_date", "'2024-02-30'", "'2024-02-30' is not a day"),
        ("template_date", "2024-07-26 12:00:00", "is not a day: give it without a time"),
        ("enable_thinking", "low", "'low' is neither true nor false"),
        ("chat_template_kwargs", "[a]", "['a'] is not a mapping, as {enable_thinking: false}"),
        ("chat_template_kwargs", "{tools: []}", "tools is not for a config to say"),
        ("chat_template_kwargs", "{strftime_now: a}", "strftime_now is not for a config to say"),
        ("chat_template_kwargs", "{a-b: 1}", "'a-b' is not a name that a template can read"),
        (
            "chat_template_kwargs",
            "{day: 2024-07-26}",
            "day: datetime.date(2024, 7, 26) is not text",
        ),
        ("chat_template_kwargs", "{a: .nan}", "a: nan is not text, a number"),
        ("chat_template_kwargs", "{a: {2020-01-01: b}}", "Incompatible key type 'date'"),
        ("report_filename", "../report.json", "is not a bare file name"),
        ("report_filename", "/tmp/report.json", "is not a bare file name"),
        ("report_filename", "..", "is not a bare file name"),
        ("output_dir", '"a\\nb"', "control character"),
        ("output_dir", '"a\\0b"', "control character"),
        ("model_name_or_path", "''", "is empty"),
        ("model_name_or_path", "7", "7 is not text"),
        ("finetuning_type", "lora", "merge adapters into their base model"),
        ("finetuning_type", "oft", "only fully fine-tuned checkpoints"),
        ("finetuning_type", "freeze", "only fully fine-tuned checkpoints"),
        ("adapter_name_or_path", "saves/lora", "adapters cannot be measured"),
        ("quantization_bit", "4", "quantised weights cannot be measured"),
        ("quantization_method", "bnb", "quantised weights cannot be measured"),
        ("load_in_8bit", "true", "quantised weights cannot be measured"),
    ],
)
def test_bad_values_are_refused_with_file_key_and_value(
    tmp_path: Path, key: str, written: str, words: str
) -> None:
    others = "" if key == "model_name_or_path" else "model_name_or_path: a\n"
    path = write(tmp_path, f"{others}{key}: {written}")
    message = refusal(path)
    assert message.startswith(f"{path}: {key}: ")
    assert words in message


def test_a_checkpoint_is_required(tmp_path: Path) -> None:
    assert "model_name_or_path is missing" in refusal(write(tmp_path, "seed: 1"))
    assert "model_name_or_path is missing" in refusal(write(tmp_path, "model_name_or_path: null"))


def test_null_or_false_is_as_good_as_no_adapter_and_no_quantisation(tmp_path: Path) -> None:
    text = "model_name_or_path: a\nadapter_name_or_path: null\nload_in_4bit: false\n"
    assert load_config(write(tmp_path, text + "quantization_bit:\n")).finetuning_type == "full"


def test_analysis_can_unset_what_training_alone_needs(tmp_path: Path) -> None:
    text = "model_name_or_path: a\nfinetuning_type: lora\nadapter_name_or_path: b\n"
    section = "analysis: {model_name_or_path: merged, finetuning_type: full, "
    config = load_config(write(tmp_path, text + section + "adapter_name_or_path: null}"))
    assert config.model_name_or_path == "merged"


def test_a_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    prompts = 'prompts: ["\\ud83d\\ude00!", "\\U0001F600!", "😀!"]'
    config = load_config(write(tmp_path, f"model_name_or_path: a\n{prompts}\n"))
    assert set(config.prompts or ()) == {"😀!"}
