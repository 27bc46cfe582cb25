"""Anonymous memory of a measurement, sampled in a child process that does nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from tests.benchmarks.models import Work, llama_config

LAYERS = (8, 16)


def memory_rows() -> list[tuple[str, str, str]]:
    """What was measured, the target, and what came out."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for layers in LAYERS:
            checkpoint = Path(folder) / str(layers)
            _save(checkpoint, layers)
            peaks[layers] = _peak_of_child(checkpoint)
    shallow, deep = (peaks[layers] for layers in LAYERS)
    return [
        ("1.1B bfloat16, K = 8, R = 3: peak anonymous memory", "≤ 1.0 GB", f"{deep / 1e9:.2f} GB"),
        (f"growth from {LAYERS[0]} to {LAYERS[1]} layers", "≤ 5%", f"{deep / shallow - 1:.1%}"),
    ]


def _save(checkpoint: Path, layers: int) -> None:
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = LlamaForCausalLM(llama_config(2048, layers, 8192, 32000))
    finally:
        torch.set_default_dtype(default)
    model.save_pretrained(checkpoint)


def _peak_of_child(checkpoint: Path) -> int:
    command = [sys.executable, "-m", "tests.benchmarks.memory", str(checkpoint)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(json.loads(output.splitlines()[-1])["peak"])


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


def main(checkpoint: str) -> None:
    """In the child: measure, while a thread samples."""
    import transformers.models.llama.modeling_llama
    from transformers import AutoModelForCausalLM

    from pytest_linearity import Directions, measure

    transformers.utils.logging.disable_progress_bar()
    start, peak, over = _anonymous(), 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not over.wait(0.005):
            peak = max(peak, _anonymous())

    thread = threading.Thread(target=sample)
    thread.start()
    began = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype="auto", attn_implementation="eager"
    ).eval()
    work = Work(model, torch.randint(0, 32000, (4, 32), generator=torch.Generator()))
    measure(model, work, Directions(model, 8), (0.1, 0.3, 1.0), "float32", calibration=work.small())
    over.set()
    thread.join()
    print(json.dumps({"peak": peak - start, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(sys.argv[1])
