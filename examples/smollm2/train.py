"""Fine-tune for a few steps at one learning rate, with transformers' own trainer.

    python train.py runs/base runs/data/python.jsonl runs/python-1e-5-0 --learning-rate 1e-5

leaves `checkpoint-<steps>` with weights, `optimizer.pt` and `trainer_state.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def rows_of(tokenizer: Any, path: Path) -> list[dict[str, list[int]]]:
    """Token ids of every row of an alpaca file; the loss is on the answer alone."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        messages = [{"role": "user", "content": row["instruction"]}]
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        answer = tokenizer(row["output"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path, help="checkpoint to start from")
    parser.add_argument("data", type=Path, help="an alpaca file")
    parser.add_argument("output", type=Path, help="directory of the run")
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--save-steps", type=int, help="default: once, at the end")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32)
    arguments = TrainingArguments(
        output_dir=str(options.output),
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant",
        max_steps=options.steps,
        save_steps=options.save_steps or options.steps,
        logging_steps=1,
        per_device_train_batch_size=options.batch_size,
        seed=options.seed,
        report_to=[],
        use_cpu=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows_of(tokenizer, options.data),  # type: ignore[arg-type]
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train()


if __name__ == "__main__":
    main()
