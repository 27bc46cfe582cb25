"""How much memory a run takes at its peak: what suspended evaluations hold, and the slices.

What an evaluation holds at each of its linear layers is looked at on a forward without products
(see `rehearsal`), and scaled to the batches of a round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd import forward_ad

from pytest_linearity.numerics.directions.layout import block_rows
from pytest_linearity.numerics.lockstep.workers import largest_slice, thread_count
from pytest_linearity.numerics.precision import Arithmetic
from pytest_linearity.plan.forward import Forward, rehearse
from pytest_linearity.plan.rehearsal import Memory, Rehearsal, Use, block_size
from pytest_linearity.plan.stages import Stage
from pytest_linearity.plan.workload import BatchSize, Workload

_FLOAT32 = torch.float32.itemsize


@dataclass(frozen=True)
class Holding:
    """What an evaluation of one batch holds from one linear layer to the next, in float32."""

    batch: BatchSize
    """The batch that was looked at."""
    plain: Sequence[Use]
    """Without a tangent."""
    dual: Sequence[Use]
    """With one; without the primals that are the baseline's."""


def holding_of(model: nn.Module, batch: BatchSize) -> Holding:
    """Look at a forward of a skeleton without products."""
    device = next((b.device for b in model.buffers()), torch.device("cpu"))

    def uses(*, dual: bool) -> Sequence[Use]:
        memory = Memory()
        rehearsal = Rehearsal(model, dual=dual, memory=memory)
        with Arithmetic(torch.float32, device).settings(), forward_ad.dual_level(), memory:
            rehearse(model, rehearsal, batch.prompts, batch.length)
        return rehearsal.uses

    return Holding(batch, uses(dual=False), uses(dual=True))


def peak_of(
    stage: Stage,
    forward: Forward,
    holding: Holding,
    workload: Workload,
    device: torch.device,
    largest: int,
) -> int:
    """Bytes at the peak of a stage.

    Args:
        stage: What is measured.
        forward: The model's forward.
        holding: What its evaluations hold.
        workload: All batches.
        device: Where it is measured.
        largest: Entries of the model's largest matrix.
    """
    vocabulary = forward.linears[-1].outputs if forward.linears else 1
    size = stage.dtype.itemsize
    rounds = list(stage.rounds(workload, forward.widest()))
    suspended = max(_suspended(stage, holding, b, ks, workload, vocabulary) for b, ks in rounds)
    derivatives = stage.along * workload.prompts * vocabulary * size
    return suspended + derivatives + slices(stage.dtype, device, largest)


def slices(dtype: torch.dtype, device: torch.device, largest: int) -> int:
    """Bytes of the slices of a matrix under way: for each thread W, δ, and W + rδ.

    Args:
        dtype: The arithmetic.
        device: Where it is done.
        largest: Entries of the model's largest matrix.
    """
    entries = min(largest_slice(device, dtype), largest)
    drawn = _FLOAT32 if dtype != torch.float32 else 0
    return thread_count(device) * entries * (3 * dtype.itemsize + drawn)


def looked_up(tokens: int, vocabulary: int, width: int) -> int:
    """Bytes of a direction's rows of an embedding: it is drawn in blocks of rows."""
    rows = block_rows(width)
    return min(tokens, -(-vocabulary // rows)) * rows * width * _FLOAT32


def _suspended(
    stage: Stage,
    holding: Holding,
    batches: Sequence[BatchSize],
    directions: int,
    workload: Workload,
    vocabulary: int,
) -> int:
    """All evaluations of a round where they hold most, one of them on its way.

    Freed blocks are kept for others of their size, so that every size counts where *it* has its
    most.
    """
    tokens = sum(batch.tokens for batch in batches) + workload.prefix
    scale = tokens / holding.batch.tokens * stage.dtype.itemsize / _FLOAT32
    plain, dual = 1 + directions * stage.radii, directions * stage.duals
    most: Counter[int] = Counter()
    for p, d in zip(holding.plain, holding.dual, strict=True):
        layer: Counter[int] = Counter()
        for count, use in ((plain, p), (dual, d)):
            output = use.rows * use.outputs * _FLOAT32
            layer[block_size(output)] += count * output
            for size, held in use.held.items():
                layer[size] += count * held
        most |= layer
    one = max(batch.tokens for batch in batches) / tokens
    way = max((use.until for use in (holding.dual if dual else holding.plain)), default=0)
    logits = sum(batch.prompts for batch in batches) * vocabulary * stage.dtype.itemsize
    # At the head every product is there twice: stacked, and as its evaluation's own.
    head = 2 * logits * (plain + dual)
    return int(max((most.total() + way * one) * scale, head))
