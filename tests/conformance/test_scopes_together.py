"""Several scopes measured at once: the figures of each alone, with what can be shared shared."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, measure
from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.directions.source import JointDirections
from pytest_linearity.numerics.lockstep.evaluation import Coroutine, Evaluation, current
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.supply import Supply
from pytest_linearity.numerics.lockstep.tail import TailMismatch
from pytest_linearity.numerics.measurement import jobs as engines
from pytest_linearity.numerics.measurement import schedule, simultaneous
from pytest_linearity.numerics.measurement.jobs import Engine, Job
from pytest_linearity.numerics.measurement.layers import LayerTaps
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.numerics.measurement.measure import measure_with
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.numerics.measurement.setup import Setup
from pytest_linearity.numerics.measurement.simultaneous import (
    measure_together,
    run_jointly,
    split_progress,
)
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.registry import find_metric
from pytest_linearity.numerics.precision import Arithmetic
from tests.support.checkpoints import llama
from tests.support.oracle import brute_force

SCOPES = ("full", "attention", "last_blocks:1", "embeddings+norms")
RADII = (0.1, 0.5, 3.0)


class Last:
    """The last tokens' logits of a batch."""

    def __init__(self, model: nn.Module, rows: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.model = model
        self.ids = torch.randint(7, 100, (rows, 6), generator=generator)
        self.tokens = self.ids.numel()
        self.needed = (torch.arange(6) == 5).repeat(rows)
        self.forwards = 0

    def __call__(self) -> Tensor:
        self.forwards += 1
        return self.model(input_ids=self.ids, use_cache=False, logits_to_keep=1).logits[:, -1]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    found = llama(blocks=3)
    found.set_attn_implementation("eager")
    return found.requires_grad_(False)


@pytest.fixture(scope="module")
def batches(model: nn.Module) -> list[Last]:
    return [Last(model, 2, 0), Last(model, 1, 1)]


@pytest.fixture(scope="module")
def directions(model: nn.Module) -> dict[str, Directions]:
    return {scope: Directions(model, 2, scope=scope) for scope in SCOPES}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[list[Evaluation]]:
    """The evaluations of every run of the engine but those of calibrations."""
    seen: list[list[Evaluation]] = []

    def counting(of: Any) -> type:
        class Counting(of):  # type: ignore[misc]
            def run(self, evaluations: Sequence[Evaluation], *args: Any, **keys: Any) -> None:
                seen.append(list(evaluations))
                super().run(evaluations, *args, **keys)

        return Counting

    for module in (engines, simultaneous):
        monkeypatch.setattr(module, "Lockstep", counting(module.Lockstep))
    return seen


def at_once(
    model: nn.Module, batches: Sequence[Last], chosen: dict[str, Directions], **keys: Any
) -> list[Any]:
    def measured(scope: str) -> Callable[[Engine], Measurement]:
        return lambda engine: measured_by(engine, model, batches, chosen[scope], **keys)

    return measure_together([measured(scope) for scope in chosen])


def measured_by(
    engine: Engine,
    model: nn.Module,
    batches: Sequence[Last],
    directions: Directions,
    precision: str = "auto",
    *,
    taps: LayerTaps | None = None,
    metrics: Sequence[Metric] = (),
    **keys: Any,
) -> Measurement:
    how: dict[str, Any] = {"taps": taps, "metrics": metrics, "engine": engine}
    setup = Setup(model, batches, directions, torch.device("cpu"), precision, **how)
    return measure_with(setup, RADII, **keys)


def assert_same(ours: Measurement, alone: Measurement, tolerance: float) -> None:
    close = {"rtol": tolerance, "atol": tolerance}
    for name in ("relative_error", "cosine_similarity", "curvature_ratio"):
        torch.testing.assert_close(getattr(ours, name), getattr(alone, name), **close)
    for name in alone.metrics:
        torch.testing.assert_close(ours.metrics[name], alone.metrics[name], **close)
    assert (ours.layers is None) == (alone.layers is None)
    if ours.layers is not None:
        assert ours.layers.names == alone.layers.names
        torch.testing.assert_close(
            ours.layers.relative_error, alone.layers.relative_error, **close, equal_nan=True
        )
    assert ours.precision == alone.precision
    assert ours.refinement == alone.refinement or (
        ours.refinement.low == pytest.approx(alone.refinement.low)
    )


@pytest.mark.parametrize("precision", ["float64", pytest.param("auto", marks=pytest.mark.slow)])
def test_each_scope_has_the_figures_it_has_alone(
    precision: str,
    model: nn.Module,
    batches: list[Last],
    directions: dict[str, Directions],
) -> None:
    """With curvature, layer profile, metrics and refinement, in either arithmetic."""
    keys: dict[str, Any] = {
        "precision": precision,
        "second_order": True,
        "limits": Limits(0.05, 0.0),
        "refined": True,
        "metrics": [find_metric("kl")],
    }
    blocks = {f"block {i}": block for i, block in enumerate(model.model.layers)}
    ours = at_once(model, batches, directions, **keys, taps=LayerTaps(blocks))
    for found, chosen in zip(ours, directions.values(), strict=True):
        alone = measure(model, batches, chosen, RADII, blocks=blocks, **keys)
        assert_same(found, alone, 1e-9 if precision == "float64" else 1e-6)
        assert found.noise_floor == pytest.approx(alone.noise_floor, rel=0.5)
    assert not any(block._forward_hooks for block in blocks.values())


def test_each_scope_against_brute_force(
    model: nn.Module, batches: list[Last], directions: dict[str, Directions]
) -> None:
    def plain(module: nn.Module) -> Tensor:
        return module(input_ids=batches[0].ids, use_cache=False).logits[:, -1]

    ours = at_once(model, batches[:1], directions, precision="float64")
    for found, chosen in zip(ours, directions.values(), strict=True):
        deltas = [{n: chosen.tensor(k, n) for n in chosen.names} for k in range(chosen.count)]
        truth = brute_force(model, plain, deltas, RADII)
        expected = torch.stack(
            [
                (truth.changes[i] - r * truth.tangents).norm(dim=-1) / truth.changes[i].norm(dim=-1)
                for i, r in enumerate(RADII)
            ]
        )
        torch.testing.assert_close(found.relative_error, expected, rtol=1e-6, atol=1e-9)


def test_noise_is_that_of_the_scope_itself(
    model: nn.Module, batches: list[Last], directions: dict[str, Directions]
) -> None:
    """A scope that hardly moves the logits has a higher floor; none is lent to another."""
    ours = at_once(model, batches, directions, precision="float32")
    floors = [found.noise_floor for found in ours]
    assert len(set(floors)) == len(SCOPES)


def test_directions_are_those_of_each_scope_bit_for_bit(directions: dict[str, Directions]) -> None:
    both = JointDirections(list(directions.values()), [2] * len(SCOPES))
    assert both.offsets == [0, 2, 4, 6, 8]
    for place, (scope, own) in enumerate(directions.items()):
        assert both.scopes[place] == frozenset(own.names), scope
        for k in range(2):
            assert both.scope_of(2 * place + k) == place
            for name in own.names:
                ours, alone = both.part(2 * place + k, name), own.part(k, name)
                assert torch.equal(ours.rows(0, ours.count), alone.rows(0, alone.count))
    with pytest.raises(KeyError):
        both.part(2, "model.embed_tokens.weight")
    for k in (-1, 8):
        with pytest.raises(IndexError, match="of 8"):
            both.part(k, "lm_head.weight")


def test_the_baseline_is_evaluated_once_for_all(
    model: nn.Module,
    batches: list[Last],
    directions: dict[str, Directions],
    jobs: list[list[Evaluation]],
) -> None:
    at_once(model, batches, directions, precision="float64")
    (evaluations,) = jobs
    assert sum(evaluation.is_baseline for evaluation in evaluations) == len(batches)
    # A JVP and three radii along two directions of each of four scopes, on two batches.
    assert len(evaluations) == len(batches) * (1 + 4 * 2 * (1 + 3))
    assert len(set(evaluations)) == len(evaluations)


def test_weights_are_read_once_for_all(
    model: nn.Module,
    batches: list[Last],
    directions: dict[str, Directions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []
    original = Supply.serve

    def noted(self: Supply, waiting: Sequence[Coroutine]) -> Any:
        assert waiting[0].request is not None
        read.append(waiting[0].request.name)
        return original(self, waiting)

    name = "model.layers.0.mlp.up_proj.weight"
    monkeypatch.setattr(Supply, "serve", noted)
    some = {scope: directions[scope] for scope in ("full", "attention")}
    at_once(model, batches, some, precision="float64")
    # Two calibrations with two arithmetics and an evaluation alone each, and the one pass of both
    # scopes.
    assert read.count(name) == 2 * 3 + 1


def test_scopes_in_different_arithmetic_share_what_they_can(
    model: nn.Module,
    batches: list[Last],
    directions: dict[str, Directions],
    jobs: list[list[Evaluation]],
) -> None:
    """One scope in float64 alone, the other two in float32: two passes, not three."""

    def measured(scope: str, precision: str) -> Callable[[Engine], Measurement]:
        return lambda engine: measured_by(engine, model, batches, directions[scope], precision)

    exact, *coarse = measure_together(
        [
            measured("full", "float64"),
            measured("attention", "float32"),
            measured("last_blocks:1", "float32"),
        ]
    )
    assert [len(job) for job in jobs] == [2 * (1 + 2 * 4), 2 * (1 + 2 * 2 * 4)]
    assert exact.precision == ("float64",) * 3
    assert {found.precision for found in coarse} == {("float32",) * 3}


def test_a_scope_keeps_its_own_trunk(
    model: nn.Module, batches: list[Last], directions: dict[str, Directions]
) -> None:
    """What runs before the last block runs once for the directions that move that block alone."""
    asked: dict[int, list[int | None]] = {0: [], 2: []}

    def note(block: int) -> Callable[..., Tensor]:
        act = model.model.layers[block].mlp.act_fn.forward

        def forward(x: Tensor) -> Tensor:
            with torch._C.DisableTorchFunction():
                has_values = not x.is_meta  # else it was told what has run before
            coroutine = current()
            if has_values and coroutine is not None:
                asked[block].append(coroutine.evaluation.direction)
            return act(x)

        return forward

    some = {scope: directions[scope] for scope in ("full", "last_blocks:1")}
    found: dict[Evaluation, Tensor] = {}
    evaluations = [Evaluation(0), *(Evaluation(0, k, 0.1) for k in (0, 2))]
    with pytest.MonkeyPatch.context() as patch:
        for block in asked:
            patch.setattr(model.model.layers[block].mlp.act_fn, "forward", note(block))
        Lockstep(
            model,
            [batches[0]],
            JointDirections(list(some.values()), [2, 2]),
            Arithmetic(torch.float64, torch.device("cpu")),
        ).run(evaluations, found.__setitem__)
    assert asked == {0: [None, 0], 2: [None, 0, 2]}
    assert len(found) == 3


def test_memory_is_shared_out(
    model: nn.Module, batches: list[Last], directions: dict[str, Directions]
) -> None:
    members: list[int] = []

    class Noted(Exception):
        pass

    def look(engine: Engine) -> None:
        members.append(engine.members)
        raise Noted

    outcomes = measure_together([look, look, look])
    assert members == [3, 2, 1]
    assert all(isinstance(outcome, Noted) for outcome in outcomes)


def test_small_rounds_give_the_same_figures(
    model: nn.Module,
    batches: list[Last],
    directions: dict[str, Directions],
    monkeypatch: pytest.MonkeyPatch,
    jobs: list[list[Evaluation]],
) -> None:

    whole = at_once(model, batches, directions, precision="float64")
    jobs.clear()
    monkeypatch.setattr(schedule, "MEMORY_BUDGET", 100_000)
    parts = at_once(model, batches, directions, precision="float64")
    assert len(jobs) > 1
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.relative_error, other.relative_error, rtol=1e-9, atol=1e-12)


class Failing(nn.Module):
    """Two parameters, of which the second must not be moved far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(torch.randn(4, 4).double())
        self.second = nn.Parameter(torch.randn(4, 4).double())
        self.at = self.second.detach().clone()
        self.x = torch.randn(3, 4).double()

    def forward(self) -> Tensor:
        if (self.second - self.at).norm() > 0.5:
            raise ValueError("moved too far")
        return torch.tanh(self.x @ self.first + self.second.sum())


def test_one_that_fails_does_not_take_the_others_along() -> None:
    model = Failing()
    chosen = {name: Directions(model, 2, scope=f"regex:{name}") for name in ("first", "second")}
    fine, failed = at_once(model, [model], chosen, precision="float64")
    alone = measure(model, model, chosen["first"], RADII, "float64")
    assert torch.equal(fine.relative_error, alone.relative_error)
    assert isinstance(failed, ValueError)


def test_one_that_cannot_be_calibrated_does_not_hold_the_others_up(
    model: nn.Module, batches: list[Last], directions: dict[str, Directions]
) -> None:
    def refused(engine: Engine) -> None:
        raise MeasurementError("this scope is out of bounds")

    def measured(engine: Engine) -> Measurement:
        return measured_by(engine, model, batches, directions["full"], "float64")

    first, second = measure_together([refused, measured])
    assert isinstance(first, MeasurementError)
    assert isinstance(second, Measurement)


def test_what_cannot_be_shared_is_not_for_any_of_them(
    model: nn.Module,
    batches: list[Last],
    directions: dict[str, Directions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mismatch makes all of them go on with all rows, still together."""
    calls: list[tuple[int, bool]] = []
    original = run_jointly

    def once(jobs: Sequence[Job]) -> None:
        calls.append((len(jobs), any(job.tails for job in jobs)))
        if len(calls) == 1:
            raise TailMismatch("a row was missing")
        original(jobs)

    monkeypatch.setattr("pytest_linearity.numerics.measurement.simultaneous.run_jointly", once)
    some = {scope: directions[scope] for scope in ("full", "attention")}
    found = at_once(model, batches, some, precision="float64")
    assert calls == [(2, True), (2, False)]
    alone = measure(model, batches, some["full"], RADII, "float64")
    torch.testing.assert_close(found[0].relative_error, alone.relative_error, rtol=1e-9, atol=0)


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_unwinds_all_of_them(
    at: int, model: nn.Module, batches: list[Last], directions: dict[str, Directions]
) -> None:
    calls = 0

    def interrupted(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt

    ended: list[str] = []

    def measured(scope: str) -> Callable[[Engine], Measurement]:
        def run(engine: Engine) -> Measurement:
            try:
                return measured_by(
                    engine, model, batches, directions[scope], "float64", progress=interrupted
                )
            finally:
                ended.append(scope)

        return run

    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        measure_together([measured("full"), measured("attention")])
    assert sorted(ended) == ["attention", "full"]
    assert signal.getsignal(signal.SIGTERM) is handler
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
    assert isinstance(model.lm_head._parameters, dict)


def test_progress_is_that_of_all() -> None:
    told: list[tuple[int, int]] = []
    first, second = split_progress(lambda done, total: told.append((done, total)), 2)
    first(5, 10)
    second(1, 4)
    second(4, 4)
    first(2, 10)  # another pass begins: the bar does not go back
    first(10, 10)
    assert told == [(250, 1000), (375, 1000), (750, 1000), (750, 1000), (1000, 1000)]
    assert split_progress(None, 2) == [None, None]


def test_ranks_that_wait_for_each_other_measure_one_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    given: list[Engine] = []
    measure_together([given.append, given.append])
    assert [type(engine).__name__ for engine in given] == ["Alone", "Alone"]
