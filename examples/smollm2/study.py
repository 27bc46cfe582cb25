"""Measure fine-tunes and the harm they have done, a line of JSON for each.

    python study.py runs/base runs/data runs/python-1e-5-0 … >> runs/figures.jsonl

For every run: held-out loss on its own data and on the other, KL divergence from the base on the
built-in prompts, and what the gate says: along the update at its own length, and where the limits
are crossed along the optimizer's next step, the gradient and random directions.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from train import rows_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from pytest_linearity import Config, analyze
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.kinds import by_kind

PROMPTS = 6
"""Of the built-in ones, the first; enough to rank runs, and a minute or two for each."""


def built_in(count: int) -> list[str]:
    """The first built-in prompts."""
    from importlib.resources import files

    import yaml

    text = (files("pytest_linearity") / "data" / "prompts.yaml").read_text(encoding="utf-8")
    prompts: list[str] = yaml.safe_load(text)
    return prompts[:count]


def held_out_loss(model: Any, rows: list[dict[str, list[int]]]) -> float:
    """Mean cross-entropy of the answers' tokens, in nats."""
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
            logits = model(ids).logits[0, :-1]
            kept = labels[1:] != -100
            total += float(
                functional.cross_entropy(logits[kept], labels[1:][kept], reduction="sum")
            )
            count += int(kept.sum())
    return total / count


def log_probabilities(model: Any, tokenizer: Any, prompts: list[str]) -> list[Tensor]:
    """Of every next token of every prompt, Tensors [tokens, V]."""
    with torch.no_grad():
        return [
            functional.log_softmax(model(tokenizer(p, return_tensors="pt").input_ids).logits[0], -1)
            for p in prompts
        ]


def divergence(base: list[Tensor], tuned: list[Tensor]) -> float:
    """Mean KL(base ‖ tuned) over all tokens, in nats."""
    each = [(p.exp() * (p - q)).sum(-1) for p, q in zip(base, tuned, strict=True)]
    return float(torch.cat(each).mean())


def gate(checkpoint: Path, base: Path) -> dict[str, Any]:
    """What the tool says of a checkpoint."""
    config = Config(
        model_name_or_path=str(checkpoint),
        base_model_name_or_path=str(base),
        prompts=built_in(PROMPTS),
        directions=["gaussian", "optimizer", "-gradient"],
        num_directions=2,
        radii="auto",
        precision="float32",
        batch_size=PROMPTS,
    )
    report = analyze(config)
    update = report.update
    assert update is not None
    figures = {kind: _crossing(report, kind) for kind in by_kind(report)}
    return {
        "update_norm": update.norm,
        "update_error": update.mean_relative_error,
        "update_cosine": update.mean_cosine_similarity,
        "update_in_linearity_radii": update.in_linearity_radii,
        "norm": report.scope["norm"],
        "optimizer_norm": report.scope["optimizer_norm"],
        **{
            f"{kind}_{name}": value
            for kind, named in figures.items()
            for name, value in named.items()
        },
    }


def _crossing(report: Report, kind: str) -> dict[str, float | None]:
    facts = report.scope["automatic_radii"][kind]
    low, high = facts["crossing_low"], facts["crossing_high"]
    return {
        "crossing": (low * high) ** 0.5 if low and high else None,
        "curvature_ratio": facts["curvature_ratio"],
    }


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    rows = {
        name: rows_of(tokenizer, options.data / f"{name}_held_out.jsonl")
        for name in ("python", "sums")
    }
    prompts = built_in(20)

    def harm(directory: Path) -> dict[str, Any]:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        return {
            **{f"loss_{name}": held_out_loss(model, kept) for name, kept in rows.items()},
            "log_probabilities": log_probabilities(model, tokenizer, prompts),
        }

    before = harm(options.base)
    for run in options.runs:
        started = time.perf_counter()
        (checkpoint,) = run.glob("checkpoint-*")
        after = harm(checkpoint)
        data, rate, seed = re.fullmatch(r"(\w+)-(.+)-(\d+)", run.name).groups()
        line = {
            "data": data,
            "learning_rate": float(rate),
            "seed": int(seed),
            **{f"base_loss_{name}": before[f"loss_{name}"] for name in rows},
            **{f"loss_{name}": after[f"loss_{name}"] for name in rows},
            "kl": divergence(before["log_probabilities"], after["log_probabilities"]),
            **gate(checkpoint, options.base),
            "seconds": round(time.perf_counter() - started, 1),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
