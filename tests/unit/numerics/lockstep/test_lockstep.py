"""The engine's parts: shared trunk, slices, and what a trunk may not hide."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from pytest_linearity import Directions, measure
from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.calibration.calibration import calibrate
from pytest_linearity.numerics.derivatives import extrapolate, steps
from pytest_linearity.numerics.lockstep import products, supply, workers
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import Coroutine, Evaluation
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.tail import Site, Tail
from pytest_linearity.numerics.lockstep.trunk import TrunkMismatch
from pytest_linearity.numerics.precision import Arithmetic
from pytest_linearity.numerics.routing import Selections, flips

EXACT = Arithmetic(torch.float64, torch.device("cpu"))


class Deep(nn.Module):
    """Four blocks that count how often they run."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(4))
        self.computed = 0

    def forward(self) -> Tensor:
        x = torch.ones(2, 6)
        for block in self.blocks:
            x = self.function(block(x))
        return x

    def function(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


def outputs(
    model: nn.Module, scope: str, evaluations: list[Evaluation], **more: bool
) -> dict[Evaluation, Tensor]:
    logits: dict[Evaluation, Tensor] = {}
    engine = Lockstep(model, [model], Directions(model, 2, scope=scope), EXACT, **more)
    engine.run(evaluations, logits.__setitem__)
    return logits


ALL = [Evaluation(0), *(Evaluation(0, k, s) for k in range(2) for s in (None, 0.1, 1.0))]


def test_the_trunk_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    plain = supply.Supply.serve

    def counted(self: supply.Supply, waiting: list) -> object:
        calls.append(len(waiting))
        return plain(self, waiting)

    monkeypatch.setattr(supply.Supply, "serve", counted)
    outputs(Deep(), "last_blocks:1", ALL)
    # Three blocks for the baseline alone, the last for all evaluations together.
    assert calls == [1, 1, 1, len(ALL)]
    calls.clear()
    outputs(Deep(), "last_blocks:1", ALL, share_trunk=False)
    assert calls == [len(ALL)] * 4


def test_sharing_the_trunk_changes_nothing() -> None:
    shared, alone = (
        outputs(Deep(), "last_blocks:2", ALL, share_trunk=share) for share in (True, False)
    )
    for evaluation in ALL:
        assert torch.equal(shared[evaluation], alone[evaluation])


def test_a_forward_that_goes_another_way_is_noticed() -> None:
    class Fickle(Deep):
        runs = 0

        def forward(self) -> Tensor:
            type(self).runs += 1
            x = torch.ones(2, 6)
            # Another operation in every second forward, before anything is perturbed.
            x = x + 1 if type(self).runs % 2 else x * 2
            for block in self.blocks:
                x = block(x)
            return x

    with pytest.raises(TrunkMismatch):
        outputs(Fickle(), "last_blocks:1", ALL)


def test_a_shared_result_that_is_changed_in_place_is_noticed() -> None:
    class Writing(Deep):
        def forward(self) -> Tensor:
            x = self.blocks[0](torch.ones(2, 6))
            y = self.blocks[3](x)
            x += 1
            return x + y

    with pytest.raises(TrunkMismatch, match="changed in place"):
        outputs(Writing(), "last_blocks:1", ALL)
    alone = outputs(Writing(), "last_blocks:1", ALL, share_trunk=False)
    assert not torch.equal(alone[ALL[2]], alone[ALL[0]])


def test_slices_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(50, 700), nn.Tanh(), nn.Linear(700, 30))
    x = torch.randn(3, 50)
    whole = Lockstep(model, [lambda: model(x)], Directions(model, 2), EXACT)
    logits: list[dict[Evaluation, Tensor]] = [{}, {}]
    whole.run(ALL, logits[0].__setitem__)
    monkeypatch.setattr(workers, "_SLICE_BYTES", 8000)
    monkeypatch.setattr(workers, "_LEAST_DRAWN", 1000)
    whole.run(ALL, logits[1].__setitem__)
    for evaluation in ALL:
        # Other shapes of the same products: rounding of float64.
        torch.testing.assert_close(logits[0][evaluation], logits[1][evaluation], rtol=0, atol=1e-13)


def test_formed_and_stacked_products_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Deep()

    def values() -> list[Tensor]:
        results: list[Tensor] = []

        def finished(evaluation: Evaluation, logits: Tensor) -> None:
            primal, tangent = unpack_dual(logits)
            assert (tangent is None) == (not evaluation.is_jvp)
            results.append(primal if tangent is None else tangent)

        Lockstep(model, [model], Directions(model, 2), EXACT).run(ALL, finished)
        return results

    stacked = values()
    monkeypatch.setattr(products, "FEW_ROWS", 0)
    for ours, theirs in zip(stacked, values(), strict=True):
        # W + rδ is rounded once more: rounding of float64.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)


def test_only_rows_that_are_looked_up_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(100_000, 64)
            self.head = nn.Linear(64, 5)

        def forward(self) -> Tensor:
            return self.head(self.embed(torch.tensor([[3, 70_000, 3]])))[:, -1]

    drawn: list[int] = []
    from pytest_linearity.numerics.directions import parts as module

    plain = module._run

    def counted(jobs: list) -> None:
        drawn.extend(job.args[0].numel() for job in jobs)
        plain(jobs)

    monkeypatch.setattr(module, "_run", counted)
    model = Lookup()
    outputs(model, "full", ALL)
    # Two draw blocks of the embedding and the small head, for each of two directions.
    assert sum(drawn) <= 2 * (2 * 32768 + 5 * 64 + 5)


def test_an_output_is_let_go_of_as_soon_as_its_evaluation_has_used_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With many evaluations, outputs kept for the last of them are most of the memory."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 40, bias=False), nn.Tanh(), nn.Linear(40, 3, bias=False))
    x = torch.randn(2, 4)
    outputs: list[StorageWeakRef] = []
    resume = Coroutine.resume

    def watched(coroutine: Coroutine, response: object = None) -> None:
        # The one before is still in the caller's hands.
        assert all(output.expired() for output in outputs[:-1])
        if isinstance(response, tuple) and response[0].shape[-1] == 40:
            outputs.append(StorageWeakRef(response[0].untyped_storage()))
        resume(coroutine, response)

    monkeypatch.setattr(Coroutine, "resume", watched)
    steps_ = [Evaluation(0), *(Evaluation(0, k, 0.1) for k in range(4))]
    arithmetic = Arithmetic(torch.float64, torch.device("cpu"))
    Lockstep(model, [lambda: model(x)], Directions(model, 4), arithmetic).run(
        steps_, lambda evaluation, logits: None
    )
    assert len(outputs) == 5


def test_several_batches_advance_together() -> None:
    model = Deep()
    directions = Directions(model, 1)
    logits: dict[Evaluation, Tensor] = {}
    x = [torch.ones(2, 6), torch.zeros(1, 6)]
    runs: list[Callable[[], Tensor]] = [lambda i=i: model.blocks[0](x[i]) for i in range(2)]
    evaluations = [Evaluation(b, *rest) for b in range(2) for rest in ((), (0, None), (0, 0.5))]
    Lockstep(model, runs, directions, EXACT).run(evaluations, logits.__setitem__)
    weight, bias = (model.blocks[0].get_parameter(n).detach().double() for n in ("weight", "bias"))
    dw, db = (directions.tensor(0, f"blocks.0.{n}").double() for n in ("weight", "bias"))
    for b in range(2):
        moved = x[b].double() @ (weight + 0.5 * dw).T + bias + 0.5 * db
        torch.testing.assert_close(logits[Evaluation(b, 0, 0.5)], moved, rtol=1e-12, atol=1e-12)


def test_parameters_are_not_to_be_read_from_elsewhere() -> None:
    class Threaded(Deep):
        def forward(self) -> Tensor:
            import threading

            failures: list[Exception] = []

            def read() -> None:
                try:
                    self.blocks[0].weight + 1
                except MeasurementError as error:
                    failures.append(error)

            thread = threading.Thread(target=read)
            thread.start()
            thread.join()
            raise failures[0]

    with pytest.raises(MeasurementError, match="read outside of an evaluation"):
        outputs(Threaded(), "full", ALL)


def test_richardson_is_exact_for_polynomials_up_to_degree_six() -> None:
    h = 0.5

    def f(t: float) -> Tensor:
        return torch.tensor([[2 * t + 3 * t**2 - t**3 + t**5 + t**6, 1.0 + t]]).double()

    derivative = extrapolate({t: f(t) for t in steps(h)}, h)
    torch.testing.assert_close(derivative, torch.tensor([[2.0, 1.0]]).double(), rtol=1e-12, atol=0)
    tangent = extrapolate({t: torch.tensor([[t**7]]).double() for t in steps(h)}, h)
    assert 0 < abs(tangent.item()) < h**6
    assert len(set(steps(h))) == 6


def test_flips_count_sets_and_skip_padding() -> None:
    def chosen(*tables: list[list[float]]) -> Selections:
        noted = Selections()
        with noted:
            for table in tables:
                torch.tensor(table).topk(2, dim=-1)
                torch.tensor([1, 2, 3]).argmax()  # of integers: no decision
        return noted

    one = chosen([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    same = chosen([[2.0, 3.0, 1.0], [3.0, 2.0, 1.0]])
    other = chosen([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    assert flips(one, same) == 0
    assert flips(one, other) == 2
    assert flips(one, other, torch.tensor([True, False])) == 1
    assert flips(one, chosen()) == 2


class Attending(nn.Module):
    """Three layers for every token, and a mixing of tokens after the first."""

    def __init__(self, peek: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.x = torch.randn(2, 4, 6)
        self.needed = torch.tensor([False, False, False, True] * 2)
        self.tokens = 8
        self.peek = peek

    def forward(self) -> Tensor:
        x = self.layers[0](self.x)
        x = torch.cumsum(x, dim=1)
        x = torch.tanh(self.layers[1](x))
        x = self.layers[2](x)
        return x[:, -1] + (x[:, 0] * 0 if self.peek else 0)


@pytest.mark.parametrize("peek", [False, True])
def test_the_tail_is_what_only_last_tokens_can_reach(peek: bool) -> None:
    model = Attending(peek)
    calibration = calibrate(model, _Run(model), Directions(model, 1), 0.1, torch.device("cpu"))
    names = {site.name for site in calibration.tail}
    assert names == (set() if peek else {"layers.1.weight", "layers.2.weight"})


def test_leaving_rows_out_changes_no_figure() -> None:
    model = Attending()
    directions, radii = Directions(model, 2), (0.1, 1.0)
    with_tail = measure(model, _Run(model), directions, radii, "float64")
    without = measure(model, model, directions, radii, "float64")
    # Stacked products of two rows against formed ones of eight: rounding of float64.
    torch.testing.assert_close(
        with_tail.relative_error, without.relative_error, rtol=1e-9, atol=1e-12
    )


def test_a_row_left_out_by_mistake_is_never_a_wrong_figure() -> None:
    model = Attending()
    sites = frozenset([Site("layers.0.weight", 0, 0)])
    results: dict[Evaluation, Tensor] = {}
    tails = {0: Tail(model.needed, sites)}
    Lockstep(model, [model], Directions(model, 2), EXACT, tails=tails).run(ALL, results.__setitem__)
    assert all(logits.isnan().all() for logits in results.values())


def test_prompts_unlike_the_calibration_fall_back_to_all_rows() -> None:
    """The layer looks at other tokens for some prompts only, and calibration saw none of them."""

    class Sometimes(Attending):
        def of(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.layers[2](x))
            return x[:, -1] + (x[:, 0] if len(x) > 1 else 0)

        def forward(self) -> Tensor:
            return self.of(self.x)

    model = Sometimes()
    directions = Directions(model, 1)
    small = _Run(model)
    object.__setattr__(small, "function", lambda: model.of(model.x[:1]))
    object.__setattr__(small, "needed", model.needed[:4])
    ours = measure(model, _Run(model), directions, (0.1,), "float64", calibration=small)
    truth = measure(model, model, directions, (0.1,), "float64")
    assert truth.relative_error.shape == (1, 1, 2)
    assert (truth.relative_error > 1e-4).all()
    torch.testing.assert_close(ours.relative_error, truth.relative_error, rtol=1e-9, atol=1e-12)


class _Run:
    """A call that says which rows it needs."""

    def __init__(self, model: Attending) -> None:
        self.function: Callable[[], Tensor] = model
        self.needed = model.needed

    def __call__(self) -> Tensor:
        return self.function()
