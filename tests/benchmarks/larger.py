"""A checkpoint twice as large as the memory allowed, against the run without a limit."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.support import limited
from tests.support.checkpoints import character_tokenizer


@dataclass(frozen=True)
class Both:
    """Two runs of the same config."""

    size: int
    """Bytes of the checkpoint."""
    allowed: int
    """Bytes of resident memory that the second may use."""
    unlimited: limited.Outcome
    limited: limited.Outcome
    reports: tuple[Path, Path]


def larger_rows() -> list[tuple[str, str, str]]:
    """What was run, the target, and what came out."""
    with tempfile.TemporaryDirectory() as folder:
        both = run_both(Path(folder))
    size, allowed = both.size / 1e6, both.allowed / 1e6
    ended = "to the end" if both.limited.code == 0 else f"exit code {both.limited.code}"
    return [
        (
            f"checkpoint of {size:.0f} MB, {allowed:.0f} MB of resident memory allowed",
            "to the end",
            f"{ended}, peak {both.limited.peak / 1e6:.0f} MB",
        ),
        (
            "the same: limited / unlimited time",
            "",
            f"{both.limited.seconds / both.unlimited.seconds:.2f} "
            f"({both.limited.seconds:.1f} s / {both.unlimited.seconds:.1f} s, "
            f"peak {both.unlimited.peak / 1e6:.0f} MB)",
        ),
    ]


def run_both(folder: Path, layers: int = 112) -> Both:
    """Measure one checkpoint without a limit, then with half its size as the limit."""
    size = save(folder / "model", layers)
    allowed = size // 2
    outcomes = []
    for name, limit in (("unlimited", None), ("limited", allowed)):
        config = {
            "model_name_or_path": "model",
            "prompts": ["Hi", "What is this"],
            "num_directions": 1,
            "radii": [0.3],
            "precision": "float32",
            "param_scope": "last_blocks:1",
            "report_filename": f"{name}.json",
        }
        (folder / f"{name}.yaml").write_text(json.dumps(config))
        main = "import sys; from pytest_linearity.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", main, "analyze-logits", f"{name}.yaml"]
        outcomes.append(limited.run(command, folder, limit))
    reports = (folder / "unlimited.json", folder / "limited.json")
    return Both(size, allowed, *outcomes, reports)


def save(checkpoint: Path, layers: int) -> int:
    """A deep Llama in bfloat16, its weights the same noise over and over; its size in bytes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=1024,
        intermediate_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=16,
        vocab_size=1024,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model = model.to_empty(device="cpu")
    noise = 0.02 * torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            if parameter.dim() == 1:
                parameter.fill_(1)
            else:
                parameter.copy_(noise.roll(977 * place)[: parameter.numel()].view_as(parameter))
    model.save_pretrained(checkpoint)
    character_tokenizer().save_pretrained(checkpoint)
    return sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
