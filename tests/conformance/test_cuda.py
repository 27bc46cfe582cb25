"""On a GPU: the same figures, with the model where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pytest_linearity import Config
from pytest_linearity.run.analysis import Analysis
from tests.support.checkpoints import tiny_llama

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


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
    assert all(p.device.type == "cpu" for p in on_gpu.subject.checkpoint.model.parameters())
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


def test_rows_are_staged_on_a_stream_of_their_own() -> None:
    from pytest_linearity.numerics.lockstep.order import Rows
    from pytest_linearity.numerics.lockstep.sources import prefetch_for

    device = torch.device("cuda", torch.cuda.current_device())
    weight = torch.randn(4096, 1024).to(torch.bfloat16)
    places = [Rows("w", start, start + 256) for start in range(0, 4096, 256)]
    prefetch = prefetch_for({"w": weight}, device)
    x = torch.randn(64, 1024, device=device)
    try:
        products = []
        for place, rows in enumerate(places):
            stored = prefetch.take(rows, places[place + 1 :])
            assert stored.device == device
            products.append(x @ stored.float().T)
    finally:
        prefetch.close()
    torch.testing.assert_close(
        torch.cat(products, dim=1), x @ weight.to(device).float().T, rtol=1e-4, atol=1e-4
    )


def test_staging_holds_a_bounded_part_of_the_device() -> None:
    from pytest_linearity.numerics.lockstep.order import Rows
    from pytest_linearity.numerics.lockstep.prefetch import AHEAD_BYTES
    from pytest_linearity.numerics.lockstep.sources import prefetch_for

    device = torch.device("cuda", torch.cuda.current_device())
    weight = torch.zeros(1 << 18, 1024, dtype=torch.bfloat16)  # 512 MB
    places = [Rows("w", start, start + 2048) for start in range(0, len(weight), 2048)]
    prefetch = prefetch_for({"w": weight}, device)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    for place, rows in enumerate(places):
        prefetch.take(rows, places[place + 1 :]).sum()
    prefetch.close()
    assert torch.cuda.max_memory_allocated(device) - before < 3 * AHEAD_BYTES
