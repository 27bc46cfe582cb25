"""Every term of a plan's work, time and memory by itself, against its closed form."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import LlamaConfig

from pytest_linearity.plan.duration import Clock
from pytest_linearity.plan.effort import work_of
from pytest_linearity.plan.forward import Forward, follow
from pytest_linearity.plan.memory import Holding, holding_of, looked_up, peak_of, slices
from pytest_linearity.plan.rehearsal import Use
from pytest_linearity.plan.skeleton import skeleton
from pytest_linearity.plan.stages import Stage, refinements, stages_of
from pytest_linearity.plan.workload import BatchSize, Workload
from tests.support.plans import (
    ALL_TOKENS,
    BATCHES,
    CPU,
    HIDDEN,
    LAST_TOKENS,
    LINEARS,
    MLP,
    PROMPTS,
    SHARED,
    STAGE,
    TOKENS,
    VOCABULARY,
    WORKLOAD,
    Rates,
    config,
)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    declared = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    return skeleton(declared, trust_remote_code=False)


@pytest.fixture(scope="module")
def forward(model: nn.Module) -> Forward:
    return follow(model)


@pytest.fixture(scope="module")
def full(model: nn.Module) -> frozenset[str]:
    return frozenset(name for name, _ in model.named_parameters())


def seconds(
    costly: str,
    forward: Forward,
    scope: frozenset[str],
    stage: Stage = STAGE,
    workload: Workload = WORKLOAD,
    blocks: int = 2,
) -> float:
    sample = nn.Module()
    clock = Clock(Rates(costly), forward, {blocks: sample}, blocks, torch.bfloat16, [scope])  # type: ignore[arg-type]
    return clock.stage(stage, workload)


def flops(forward: Forward, scope: frozenset[str], stage: Stage, prefix: int) -> float:
    done = work_of(stage, forward, [scope], BATCHES, stage.directions, prefix)
    return sum(work.flops for work in done)


@pytest.mark.parametrize("prefix", [0, 51])
def test_operations(forward: Forward, full: frozenset[str], prefix: int) -> None:
    """Baseline, six steps, and for each JVP dx W and x δ; of few rows each step has x δ, too."""
    expected = 2 * ((TOKENS + prefix) * 11 * ALL_TOKENS + PROMPTS * (9 + 8) * LAST_TOKENS)
    operations = flops(forward, full, STAGE, prefix)
    assert operations == expected
    workload = replace(WORKLOAD, prefix=prefix)
    assert seconds("products", forward, full, workload=workload) == pytest.approx(operations)


def test_operations_of_second_derivatives(forward: Forward, full: frozenset[str]) -> None:
    """Two more dual numbers a direction, each with a primal of its own."""
    curved = replace(STAGE, curvature=True)
    every = 1 + 2 * (3 + 2) + 2 * 3 + 2 * 3
    last = 1 + 2 * (3 + 2) + 2 * 3 + 2 * (3 + 2 + 3)
    expected = 2 * (TOKENS * every * ALL_TOKENS + PROMPTS * last * LAST_TOKENS)
    assert flops(forward, full, curved, 0) == expected


def test_operations_of_what_does_not_move(forward: Forward, full: frozenset[str]) -> None:
    """Before the first parameter in scope there is the baseline alone; after it no x δ."""
    head = frozenset(["lm_head.weight"])
    last = PROMPTS * ((LAST_TOKENS - HIDDEN * VOCABULARY) + 17 * HIDDEN * VOCABULARY)
    assert flops(forward, head, STAGE, 0) == 2 * (TOKENS * ALL_TOKENS + last)
    first = frozenset(["model.embed_tokens.weight"])
    expected = 2 * (TOKENS * 9 * ALL_TOKENS + PROMPTS * 9 * LAST_TOKENS)
    assert flops(forward, first, STAGE, 0) == expected


def test_two_scopes_have_their_own_directions(forward: Forward, full: frozenset[str]) -> None:
    head = frozenset(["lm_head.weight"])
    both = work_of(STAGE, forward, [full, head], BATCHES, 4, 0)
    assert [work.drawn for work in both] == [2] * (LINEARS - 1) + [4]


@pytest.mark.parametrize(
    ("costly", "expected"),
    [
        ("widening", ALL_TOKENS + LAST_TOKENS),
        ("drawing", 2 * (ALL_TOKENS + LAST_TOKENS)),
        ("forming", 2 * 3 * ALL_TOKENS),
        ("plain", 2 * (1 + 2 * 3)),
        ("dual", 2 * 2),
        ("figures", 2 * 2 * 3),
        ("serving", 2 * LINEARS * (1 + 2 * 4)),
    ],
)
def test_time(costly: str, expected: float, forward: Forward, full: frozenset[str]) -> None:
    assert seconds(costly, forward, full) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("costly", "more"),
    [("plain", 1 + 2 * 3), ("dual", 2), ("serving", LINEARS * (1 + 2 * 4)), ("figures", 0)],
)
def test_time_of_a_shared_prefix(
    costly: str, more: float, forward: Forward, full: frozenset[str]
) -> None:
    """One more forward at every point, however many batches there are."""
    plain, shared = (seconds(costly, forward, full, workload=w) for w in (WORKLOAD, SHARED))
    assert shared - plain == pytest.approx(more)


def test_time_in_float64(forward: Forward, full: frozenset[str]) -> None:
    """What is drawn is float32, and is converted as well."""
    wide = replace(STAGE, dtype=torch.float64)
    assert seconds("widening", forward, full, wide) == pytest.approx(
        (1 + 2) * (ALL_TOKENS + LAST_TOKENS)
    )


def test_time_of_what_comes_before_the_first_parameter_in_scope(forward: Forward) -> None:
    head = frozenset(["lm_head.weight"])
    assert seconds("plain", forward, head) == pytest.approx(2 * (1 + 6 / LINEARS))
    assert seconds("dual", forward, head) == pytest.approx(2 * 2 / LINEARS)


def test_long_batches_take_longer(forward: Forward, full: frozenset[str]) -> None:
    """Tried on 256 tokens."""
    long = replace(WORKLOAD, batches=(BatchSize(4, 512),))
    assert seconds("plain", forward, full, workload=long) == pytest.approx(7 * 4 * 2)


@pytest.mark.parametrize(
    ("ranks", "shares"), [(1, [2, 2, 3]), (2, [1, 1, 2]), (3, [1, 1, 1]), (99, [1, 1, 1])]
)
def test_each_rank_has_a_share_of_every_round(ranks: int, shares: list[int]) -> None:
    asked = config(num_directions={"min": 2, "max": 7})
    stages = stages_of(asked, torch.float32, 7, 1, ranks)
    assert [stage.directions for stage in stages] == shares


def test_fixed_directions_are_in_the_first_round_alone() -> None:
    asked = config(num_directions={"min": 2, "max": 4}, directions=("rademacher", "gradient"))
    assert [s.directions for s in stages_of(asked, torch.float32, 4, 1, 1)] == [3, 2]


def test_second_derivatives_are_a_stage_of_their_own_in_float32() -> None:
    asked = config(second_order=True)
    narrow, curved = stages_of(asked, torch.float32, 8, 1, 1)
    assert (narrow.per_direction, curved.per_direction, curved.dtype) == (4, 2, torch.float64)
    (wide,) = stages_of(asked, torch.float64, 8, 1, 1)
    assert wide.per_direction == 3 + 3


def test_kinds_of_other_radii_take_a_pass_of_their_own() -> None:
    radii = {"gaussian": [1, 10], "gradient": [0.4], "rademacher": [1, 10]}
    asked = config(directions=list(radii), radii=radii, refine=True)
    stages = stages_of(asked, torch.float64, 8, 1, 1)
    assert [(s.directions, s.radii, s.derivatives) for s in stages] == [(16, 2, True), (1, 1, True)]
    assert refinements(asked) == 2 * 6  # of both kinds that have a second radius
    rounds = config(directions=list(radii), radii=radii, num_directions={"min": 2, "max": 4})
    stages = stages_of(rounds, torch.float64, 4, 1, 1)
    assert [(s.directions, s.radii) for s in stages] == [(4, 2), (1, 1), (4, 2)]


@pytest.mark.parametrize(
    ("radii", "more"), [((0.1, 1.0), 6), ((0.1, 0.3, 1.0), 5), ((1.0, 1.04), 0), ((1.0,), 0)]
)
def test_bisections(radii: tuple[float, ...], more: int) -> None:
    """Halvings of log(high / low) until it is log(1.05) at most."""
    assert refinements(config(radii=radii, refine=True)) == more
    assert refinements(config(radii=radii)) == 0


class TestMemory:
    @pytest.mark.parametrize("threads", [1, 3])
    def test_slices(self, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """For each thread W, what is drawn, and their sum; in float64 what is drawn twice."""
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        assert slices(torch.float32, CPU, 1000) == threads * 3 * 4 * 1000
        assert slices(torch.float64, CPU, 1000) == threads * (3 * 8 + 4) * 1000
        assert slices(torch.float32, torch.device("cuda"), 1000) == 3 * 4 * 1000

    def test_slices_have_a_largest_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However large the matrix, and all threads' together however many there are."""
        sizes = []
        for threads in (1, 8, 16, 64):
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            sizes.append(slices(torch.float32, CPU, 10**9) / (3 * 4 << 20))
        assert sizes == [1, 8, 8, 8]
        # In float64 they have half as many entries, each of 28 bytes for a thread.
        assert slices(torch.float64, torch.device("cuda"), 10**9) == (3 * 8 + 4) << 21

    def test_a_direction_of_an_embedding_is_drawn_in_blocks(self) -> None:
        from pytest_linearity.numerics.directions.layout import block_rows

        rows = block_rows(16)
        assert looked_up(3, 10**9, 16) == 3 * rows * 16 * 4
        assert looked_up(10**9, 2 * rows + 1, 16) == 3 * rows * 16 * 4

    def peak(self, model: nn.Module, forward: Forward, stage: Stage, workload: Workload) -> int:
        holding = holding_of(model, BatchSize(2, 40))
        return peak_of(stage, forward, holding, workload, CPU, 1000)

    def test_derivatives_and_slices_come_on_top(self, model: nn.Module, forward: Forward) -> None:
        """Of all batches, while the evaluations under way are those of a round."""
        holding = holding_of(model, BatchSize(2, 40))
        peak = peak_of(STAGE, forward, holding, WORKLOAD, CPU, 1000)
        larger = peak_of(STAGE, forward, holding, WORKLOAD, CPU, 2000)
        assert larger - peak == slices(torch.float32, CPU, 2000) - slices(torch.float32, CPU, 1000)

    def test_it_grows_with_tokens_and_width(self, model: nn.Module, forward: Forward) -> None:
        base = slices(torch.float32, CPU, 1000) + 2 * PROMPTS * VOCABULARY * 4
        wide = slices(torch.float64, CPU, 1000) + 2 * PROMPTS * VOCABULARY * 8
        one = self.peak(model, forward, STAGE, WORKLOAD) - base
        exact = replace(STAGE, dtype=torch.float64)
        assert self.peak(model, forward, exact, WORKLOAD) - wide == pytest.approx(2 * one, rel=1e-3)
        shared = self.peak(model, forward, STAGE, SHARED) - base
        assert shared / one == pytest.approx((TOKENS + 51) / TOKENS, rel=0.15)
        assert shared > one

    def test_what_evaluations_hold(self, forward: Forward) -> None:
        """Seven plain ones and two dual, all with their outputs, and one of these on its way."""
        plain, dual = (
            Use("w", 80, HIDDEN, HIDDEN, Counter({20: held}), until)
            for held, until in ((1_000_000, 500_000), (2_000_000, 700_000))
        )
        holding = Holding(BatchSize(2, 40), [plain], [dual])
        held = 7 * 1_000_000 + 2 * 2_000_000 + 9 * 80 * HIDDEN * 4
        expected = held * TOKENS / 80 + 700_000 + 2 * PROMPTS * VOCABULARY * 4
        peak = peak_of(STAGE, forward, holding, WORKLOAD, CPU, 1000)
        assert peak == pytest.approx(expected + slices(torch.float32, CPU, 1000), rel=1e-6)

    def test_logits_are_there_twice(self, model: nn.Module) -> None:
        """Where the vocabulary is wide, nothing else counts."""
        declared = LlamaConfig(
            vocab_size=40_000,
            hidden_size=HIDDEN,
            intermediate_size=MLP,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
        wide = skeleton(declared, trust_remote_code=False)
        workload = replace(WORKLOAD, batches=(BatchSize(2, 2),))
        peak = peak_of(STAGE, follow(wide), holding_of(wide, BatchSize(2, 2)), workload, CPU, 1000)
        logits = 2 * 40_000 * 4
        expected = 2 * logits * (1 + 2 * 3 + 2) + 2 * logits + slices(torch.float32, CPU, 1000)
        assert peak == expected
