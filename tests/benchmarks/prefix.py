"""Time with every prompt whole against time with the prefix that they share evaluated once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from pytest_linearity import Directions, measure
from pytest_linearity.probes.batches import Batch, make_batches
from pytest_linearity.probes.logits import LastTokenLogits, last_token_logits
from pytest_linearity.probes.shared_prefix import Sharing, share
from tests.benchmarks.models import llama
from tests.benchmarks.speed import REPEATS, K, Row

PROMPTS = 16
TOKENS = 96
SHARED = 64
RADII = (0.1, 0.3, 1.0)
CPU = torch.device("cpu")


def prefix_rows() -> list[Row]:
    """With and without in turn, so that a machine that drifts drifts for both."""
    work = llama(hidden=512, layers=8, mlp=2048, vocabulary=8192, prompts=PROMPTS, length=TOKENS)
    work.ids[:, :SHARED] = work.ids[0, :SHARED]
    prompts = work.ids.tolist()
    batches = make_batches(prompts, size=8, pad_id=0)
    runs = [last_token_logits(work.model, batch, CPU) for batch in batches]
    small = last_token_logits(work.model, _small(batches[0]), CPU)
    directions = Directions(work.model, K)
    plain, shared = [], []
    for _ in range(REPEATS):
        sharing = share(runs, small, prompts)
        shared.append(_seconds(sharing, directions))
        assert sharing.describe() == {"shared_prefix": SHARED, "shared_prefix_skipped": None}
        plain.append(_seconds(Sharing(runs, small), directions))
    seconds = f"{statistics.median(plain):.1f} s / {statistics.median(shared):.1f} s"
    what = f"{PROMPTS} probes of {TOKENS} tokens that share {SHARED}: whole / prefix once"
    return [Row(what, "≥ 1.6", [a / b for a, b in zip(plain, shared, strict=True)], seconds)]


def _seconds(sharing: Sharing, directions: Directions) -> float:
    """All that `measure` does: calibration and the check of equality included."""
    runs: Sequence[LastTokenLogits] = sharing.batches
    model = sharing.calibration.model
    started = time.perf_counter()
    measure(model, runs, directions, RADII, "float32", calibration=sharing.calibration)
    return time.perf_counter() - started


def _small(batch: Batch) -> Batch:
    """The part that calibration looks at: the start of one prompt."""
    ids = batch.input_ids[:1, :16]
    return Batch(ids, torch.ones_like(ids), torch.tensor([15]), batch.rows[:1])
