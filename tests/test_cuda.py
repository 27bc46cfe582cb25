"""On a GPU: the same figures, with the model where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import tiny_llama

from pytest_linearity import Config
from pytest_linearity.analysis import Analysis

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("precision", ["float32", "float64", "auto"])
@pytest.mark.parametrize("scope", ["full", "last_blocks:1"])
def test_figures_do_not_depend_on_the_device(tmp_path: Path, precision: str, scope: str) -> None:
    keys = {
        "model_name_or_path": str(tiny_llama(tmp_path / "tiny", dtype=torch.bfloat16)),
        "prompts": ("What is 2 plus 2?", "Hi", "A longer prompt than the others."),
        "num_directions": 2,
        "radii": (0.1, 1.0),
        "param_scope": scope,
        "precision": precision,
    }
    on_cpu, on_gpu = (Analysis(Config(**keys, device=device)) for device in ("cpu", "cuda"))
    expected, ours = on_cpu.measurement, on_gpu.measurement
    # The same directions and weights; other kernels, so another rounding.
    close = {"rtol": 1e-2, "atol": 1e-4} if precision != "float64" else {"rtol": 1e-7, "atol": 1e-9}
    torch.testing.assert_close(ours.relative_error, expected.relative_error, **close)
    torch.testing.assert_close(ours.cosine_similarity, expected.cosine_similarity, **close)
    assert all(p.device.type == "cpu" for p in on_gpu.checkpoint.model.parameters())
    assert on_gpu.report.environment["device"].startswith("cuda")


def test_tf32_is_off_while_measuring_and_put_back(tmp_path: Path) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        keys = {"prompts": ("Hi",), "num_directions": 1, "radii": (1.0,), "device": "cuda"}
        checkpoint = str(tiny_llama(tmp_path / "tiny"))
        floor = Analysis(Config(model_name_or_path=checkpoint, precision="float32", **keys)).report
        assert floor.radii[0].noise_floor is not None
        # TF32 has ten bits: its rounding would be a thousand times that of float32.
        assert floor.radii[0].noise_floor < 1e-3
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
