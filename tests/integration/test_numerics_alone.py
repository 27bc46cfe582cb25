"""The numerics are a library by themselves: no pytest, no Hugging Face, no config, no report."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys

FORBIDDEN = {
    "pytest", "_pytest", "transformers", "tokenizers", "datasets", "huggingface_hub", "safetensors",
    "omegaconf", "yaml", "pandas", "fsspec", "jinja2", "rich", "tqdm", "filelock", "matplotlib",
}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())

import torch
from torch import nn

from pytest_linearity import Directions, find_metric, measure

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5))
inputs = torch.randn(2, 3)
measured = measure(
    model,
    lambda: model(inputs),
    Directions(model, 2, scope="full"),
    [0.1, 0.3],
    second_order=True,
    metrics=[find_metric("kl")],
)
assert measured.relative_error.shape == (2, 2, 2)
ours = {name.split(".")[1] for name in sys.modules if name.startswith("pytest_linearity.")}
assert ours == {"numerics", "errors"}, ours
loaded = FORBIDDEN & {name.split(".")[0] for name in sys.modules}
assert not loaded, loaded
"""


def test_measure_needs_torch_and_nothing_of_pytest_or_hugging_face() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
