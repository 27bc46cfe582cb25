"""Config files for tests: a whole training config, and what a bad one is refused with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.config.loading import load_config
from pytest_linearity.errors import ConfigError

SFT = """\
### model
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
trust_remote_code: true
flash_attn: auto

### method
stage: sft
do_train: true
finetuning_type: full
deepspeed: examples/deepspeed/ds_z3_config.json

### dataset
dataset: identity,alpaca_en_demo
template: llama3
cutoff_len: 2048
max_samples: 1000
preprocessing_num_workers: 16
dataloader_num_workers: 4
overwrite_cache: true

### output
output_dir: saves/llama3-8b/full/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 2
learning_rate: 1.0e-5
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null

### eval
eval_dataset: alpaca_en_demo
val_size: 0.1
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 500
"""
"""A full fine-tuning config of the LLaMA-Factory kind."""


SMALL = {
    "prompts": ("1+1=", "The sky is"),
    "num_directions": 2,
    "precision": "float32",
    "radii": (0.01, 0.1),
}
"""Keys with which a tiny checkpoint is measured in a moment."""


def small_config(checkpoint: Path, **keys: Any) -> Config:
    """A config with these keys and, for the rest, the small ones."""
    return Config(model_name_or_path=str(checkpoint), **{**SMALL, **keys})


def write(directory: Path, text: str | bytes) -> Path:
    """Writes a config file, and returns where it is."""
    path = directory / "cfg.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path, *overrides: str) -> str:
    """The one line that a config is refused with."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message
