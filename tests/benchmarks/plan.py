"""What `pytest-linearity plan` says beforehand against what the run then takes."""

from __future__ import annotations

import json
import random
import string
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.models import llama_config
from tests.support.checkpoints import character_tokenizer
from tests.support.paths import ROOT

SHAPES = ((256, 4), (512, 8), (1024, 6))
"""Width and depth."""
PROMPTS, TOKENS = 8, 64


@dataclass(frozen=True)
class Compared:
    """One model's plan and run."""

    what: str
    planned: dict[str, Any]
    measured: dict[str, Any]

    def ratio(self, key: str) -> float:
        return float(self.planned[key]) / float(self.measured[key])


def plan_rows(shapes: tuple[tuple[int, int], ...] = SHAPES) -> list[tuple[str, str, str]]:
    """What was planned, the target, and how far from it the run was."""
    rows = []
    for hidden, layers in shapes:
        with tempfile.TemporaryDirectory() as folder:
            found = compared(Path(folder), hidden, layers)
        memory, seconds = found.measured["peak_memory"], found.measured["seconds"]
        rows += [
            (
                f"{found.what}: planned / taken memory ({memory / 1e6:.0f} MB)",
                "0.85 … 1.15",
                f"{found.ratio('peak_memory'):.2f}",
            ),
            (
                f"{found.what}: planned / taken time ({seconds:.1f} s)",
                "0.70 … 1.30",
                f"{found.ratio('seconds'):.2f}",
            ),
        ]
    return rows


def compared(folder: Path, hidden: int, layers: int) -> Compared:
    """Plan and measure one model, each in a process of its own."""
    save(folder / "model", hidden, layers)
    draw = random.Random(0)
    letters = string.ascii_letters + " "
    prompts = ["".join(draw.choices(letters, k=TOKENS - 1)) for _ in range(PROMPTS)]
    config = folder / "gate.yaml"
    config.write_text(
        json.dumps({"model_name_or_path": "model", "prompts": prompts, "precision": "float32"})
    )
    planned = _child("pytest_linearity.cli", "plan", "--json", config)
    measured = _child("tests.benchmarks.plan", config)
    return Compared(f"hidden {hidden}, {layers} layers", planned["cases"][-1], measured)


def save(checkpoint: Path, hidden: int, layers: int) -> None:
    """A random Llama in bfloat16 with a tokenizer of characters."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(llama_config(hidden, layers, 4 * hidden, 8192)).to(torch.bfloat16)
    model.save_pretrained(checkpoint)
    character_tokenizer().save_pretrained(checkpoint)


def _child(module: str, *arguments: object) -> dict[str, Any]:
    """What a module's `main` prints, in a process that does nothing else."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"from {module} import main\nsys.exit(main(sys.argv[1:]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    document: dict[str, Any] = json.loads(output)
    return document


def main(arguments: list[str]) -> None:
    """In the child: measure, while a thread samples private memory."""
    from pytest_linearity import load_config
    from pytest_linearity.run.analysis import Analysis
    from pytest_linearity.run.environment import private_memory

    peak, over = 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not over.wait(0.005):
            peak = max(peak, private_memory() or 0)

    thread = threading.Thread(target=sample)
    thread.start()
    report = Analysis(load_config(arguments[0])).report
    over.set()
    thread.join()
    print(json.dumps({"peak_memory": peak, "seconds": report.environment["seconds"]}))


if __name__ == "__main__":
    for row in plan_rows():
        print(*row)
