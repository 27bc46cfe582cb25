"""Forwards that keep state between their parts: the figures of the same model run alone."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from pytest_linearity import Directions, Measurement, Setup, measure, measure_with
from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.calibration.calibration import Calibration, RoundingNoise, calibrate
from pytest_linearity.numerics.calibration.prefix_check import check_prefix
from pytest_linearity.numerics.lockstep.prefix import SharedPrefix
from pytest_linearity.numerics.measurement.simultaneous import measure_together
from tests.support.in_place import TOLERANCE, relative_error

X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
RADII = (0.03, 0.3)
CPU = torch.device("cpu")


class Layers(nn.Module):
    """Three layers in float64, and a forward that is given."""

    def __init__(self, forward: Callable[[Any], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 5)
        self.double()
        self.function = forward

    def forward(self) -> Tensor:
        return self.function(self)


def on_self(m: Any) -> Tensor:
    m.h = m.a(X).tanh()
    return m.c(m.b(m.h) + m.h**2)


def of_a_local(m: Any) -> Tensor:
    h = m.a(X).tanh()
    return m.c(m.b(h) + h**2)


def consumed(m: Any) -> Tensor:
    """A second evaluation meets no attribute any more."""
    m.h = m.a(X).tanh()
    y = m.b(m.h)
    h, _ = m.h, delattr(m, "h")
    return m.c(y + h**2)


def kept_if_absent(m: Any) -> Tensor:
    """The first one to come fills a cache that all use."""
    if "weight" not in m.cache:
        m.cache["weight"] = m.b.weight**2 + m.b.weight
    return m.c(m.a(X).tanh() @ m.cache["weight"])


def grown_list(m: Any) -> Tensor:
    m.states = []
    m.states.append(m.a(X).tanh())
    m.states.append(m.b(m.states[-1]).tanh())
    return m.c(sum(m.states))


def written_buffer(m: Any) -> Tensor:
    m.state.copy_(m.a(X).tanh())
    return m.c(m.b(m.state) + m.state**2)


def bound_buffer(m: Any) -> Tensor:
    m.state = m.a(X).tanh()
    return m.c(m.b(m.state) + m.state**2)


_GLOBAL: dict[str, Tensor] = {}


def in_a_global(m: Any) -> Tensor:
    _GLOBAL["h"] = m.a(X).tanh()
    return m.c(m.b(_GLOBAL["h"]) + _GLOBAL["h"] ** 2)


def with_attribute(function: Callable[[Any], Tensor], name: str, value: Any) -> Layers:
    model = Layers(function)
    setattr(model, name, value)
    return model


def with_buffer(function: Callable[[Any], Tensor]) -> Layers:
    model = Layers(function)
    model.register_buffer("state", torch.zeros(3, 6, dtype=torch.float64))
    return model


def skip_connections() -> Layers:
    """Two of them, made of forward hooks."""
    kept: dict[str, Tensor] = {}

    def forward(m: Any) -> Tensor:
        return m.c(m.b(m.b(m.a(X)).tanh()))

    model = Layers(forward)
    model.a.register_forward_hook(lambda module, inputs, output: kept.update(a=output))
    model.b.register_forward_hook(lambda module, inputs, output: output + kept["a"] ** 2)
    return model


def list_of_inputs() -> Layers:
    """A list in a closure, which grows for ever."""
    kept: list[Tensor] = []
    model = Layers(lambda m: m.c(m.b(m.a(X).tanh()) + kept[-1] ** 2))
    model.b.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    return model


class Square(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight**2 + weight


def parametrized() -> Layers:
    def forward(m: Any) -> Tensor:
        with parametrize.cached():
            return m.c(m.b(m.b(m.a(X).tanh()).tanh()))

    model = Layers(forward)
    parametrize.register_parametrization(model.b, "weight", Square())
    return model


def spectral(normalise: Callable[[nn.Module], object]) -> Layers:
    """In training, every forward brings its vectors nearer to the singular ones."""
    model = Layers(lambda m: m.c(m.b(m.a(X).tanh()).tanh()))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        normalise(model.b)
    return model.double().train()


MODELS = {
    "attribute": lambda: Layers(on_self),
    "attribute consumed": lambda: Layers(consumed),
    "dict on self": lambda: with_attribute(kept_if_absent, "cache", {}),
    "list on self": lambda: Layers(grown_list),
    "buffer written": lambda: with_buffer(written_buffer),
    "buffer bound": lambda: with_buffer(bound_buffer),
    "global": lambda: Layers(in_a_global),
    "hooks": skip_connections,
    "closure": list_of_inputs,
    "parametrization cached": parametrized,
    "spectral norm": lambda: spectral(parametrizations.spectral_norm),
    "spectral norm of old": lambda: spectral(nn.utils.spectral_norm),
}


def measured(model: nn.Module, radii: tuple[float, ...] = RADII, **more: Any) -> Measurement:
    return measure(model, model, Directions(model, 2), radii, "float64", **more)


@pytest.mark.parametrize("name", MODELS)
def test_state_between_parts_of_a_forward_is_that_of_the_evaluation(name: str) -> None:
    model = MODELS[name]()
    result = measured(model)
    if name == "dict on self":
        # By itself the model would stay with the first weight.
        model.function = lambda m: m.cache.clear() or kept_if_absent(m)
    expected = relative_error(model, model, Directions(model, 2), RADII)
    torch.testing.assert_close(result.relative_error, expected, **TOLERANCE)
    assert result.not_interleaved


def test_state_on_self_gives_what_a_local_gives() -> None:
    kept, local = measured(Layers(on_self)), measured(Layers(of_a_local))
    # Products of one evaluation, or of several, are added up in another order.
    torch.testing.assert_close(kept.relative_error, local.relative_error, rtol=1e-9, atol=0)
    assert kept.not_interleaved == "the forward keeps state between its parts (h)"
    assert local.not_interleaved is None


@pytest.mark.parametrize("radius", [1e-6, 1e-3, 10.0])
def test_state_is_found_at_any_radius(radius: float) -> None:
    model = Layers(on_self)
    calibration = calibrate(model, model, Directions(model, 1), radius, CPU)
    assert calibration.not_interleaved is not None


def table(m: Any) -> Tensor:
    """A table that is grown where it is used, as those of rotary embeddings are: of no matter."""
    if m.rows < 3:
        m.scale = torch.arange(1.0, 4.0, dtype=torch.float64)[:, None]
        m.rows = 3
    return m.c(m.b((m.a(X) * m.scale).tanh()))


def test_state_that_is_the_same_for_all_costs_nothing() -> None:
    model = with_attribute(table, "rows", 0)
    result = measured(model)
    assert result.not_interleaved is None
    expected = relative_error(model, model, Directions(model, 2), RADII)
    torch.testing.assert_close(result.relative_error, expected, **TOLERANCE)


def test_second_derivatives_layers_and_batches_of_a_model_with_state() -> None:
    def with_inputs(x: Tensor) -> Callable[[], Tensor]:
        def run() -> Tensor:
            model.x = x
            return model()

        run.needed = torch.ones(len(x), dtype=torch.bool)  # type: ignore[attr-defined]
        return run

    def of(kept: bool) -> Measurement:
        def forward(m: Any) -> Tensor:
            h = m.a(m.x).tanh()
            m.h = h
            y = m.b(h)
            return m.c(y + (m.h if kept else h) ** 2)[:, 0]

        nonlocal model
        model = Layers(forward)
        batches = [with_inputs(X[:1, None]), with_inputs(X[1:, None])]
        directions = Directions(model, 2)
        return measure(
            model, batches, directions, RADII, "auto", second_order=True, blocks={"b": model.b}
        )

    model: Any = None
    kept, local = of(True), of(False)
    assert kept.not_interleaved
    assert not local.not_interleaved
    # κ is a difference of JVPs over h = 3e-5: rounding of 1e-16 becomes 1e-11.
    for one, other in (
        (kept.relative_error, local.relative_error),
        (kept.curvature_ratio, local.curvature_ratio),
        (kept.layers.relative_error, local.layers.relative_error),
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-12)


def test_a_forward_that_changes_with_every_call_is_refused_by_the_attributes_name() -> None:
    state = torch.zeros(3, 6, dtype=torch.float64)

    def forward(m: Any) -> Tensor:
        m.state += 0.1
        return m.c((m.a(X) + m.state).tanh())

    model = with_attribute(forward, "state", state)
    with pytest.raises(MeasurementError, match=r"not deterministic.*; it changes state; switch"):
        measured(model)


def test_what_goes_wrong_in_a_forward_alone_is_what_it_says() -> None:
    def forward(m: Any) -> Tensor:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        measured(Layers(forward))


VARIABLE = contextvars.ContextVar("VARIABLE", default=1.0)


def test_context_variables_are_those_of_the_caller() -> None:
    model = Layers(lambda m: m.c((VARIABLE.get() * m.a(X)).tanh()))

    def run() -> tuple[Measurement, Tensor]:
        VARIABLE.set(3.0)
        result = measured(model)
        return result, relative_error(model, model, Directions(model, 2), RADII)

    result, expected = contextvars.copy_context().run(run)
    torch.testing.assert_close(result.relative_error, expected, **TOLERANCE)


def test_progress_of_evaluations_one_after_another_is_told_in_shares() -> None:
    seen: list[tuple[int, int]] = []
    model = Layers(on_self)
    measured(model, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {6}
    assert {done for done, _ in seen} == {1, 2, 3, 4, 5, 6}


class Grows(nn.Module):
    """A scale that a longer prompt changes for all that come after it."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 5)
        self.double()
        self.longest = 2

    def forward(self, x: Tensor) -> Tensor:
        self.longest = max(self.longest, x.shape[1])
        return self.b((self.a(x) * self.longest).tanh().mean(1))


@pytest.mark.parametrize("seen", [True, False], ids=["by calibration", "later"])
@pytest.mark.parametrize("scopes", [1, 2])
def test_a_batch_does_not_meet_what_another_has_grown(seen: bool, scopes: int) -> None:
    model = Grows()
    x = torch.randn(2, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def batch(tokens: int) -> Any:
        def run() -> Tensor:
            return model(x[:, :tokens])

        run.tokens = 2 * tokens  # type: ignore[attr-defined]
        return run

    batches, first = [batch(n) for n in (3, 9, 5)], batch(2)
    directions = [Directions(model, 2, scope=s) for s in ("full", "biases")[:scopes]]
    setups = [
        lambda engine, d=d: measure_with(
            Setup(
                model,
                batches,
                d,
                CPU,
                "float64",
                calibration=None if seen else first,
                engine=engine,
            ),
            RADII,
        )
        for d in directions
    ]
    results = measure_together(setups)
    for result, d in zip(results, directions, strict=True):
        assert isinstance(result, Measurement)
        assert result.not_interleaved is None
        # Three batches, a baseline and two directions with a JVP and two radii each; and what was
        # done in vain where calibration did not know.
        if scopes == 1:
            assert result.evaluations == 3 * (1 + 2 * 3)
            assert result.evaluations_run == (1 if seen else 2) * result.evaluations
        truth = []
        for run in batches:

            def fresh(run: Callable[[], Tensor] = run) -> Tensor:
                model.longest = 2
                return run()

            truth.append(relative_error(model, fresh, d, RADII))
        model.longest = 2
        torch.testing.assert_close(result.relative_error, torch.cat(truth, dim=-1), **TOLERANCE)


def test_scopes_at_once_of_a_model_with_state() -> None:
    model = Layers(on_self)
    directions = [Directions(model, 2, scope=scope) for scope in ("full", "regex:^a")]
    results = measure_together(
        [
            lambda engine, d=d: measure_with(
                Setup(model, [model], d, CPU, "float64", engine=engine), RADII
            )
            for d in directions
        ]
    )
    for result, d in zip(results, directions, strict=True):
        assert isinstance(result, Measurement)
        expected = relative_error(model, model, d, RADII)
        torch.testing.assert_close(result.relative_error, expected, **TOLERANCE)


def test_a_model_with_state_shares_no_prefix() -> None:
    calibration = Calibration(
        share_primals=True,
        share_trunk=False,
        not_interleaved="state",
        changes_state=True,
        asks=True,
        selects=False,
        widest=1,
        tail=frozenset(),
        step=None,
        no_forward_mode=None,
        only_exact=False,
        unsteady=False,
        tie=0.0,
        departure=0.0,
        float32=RoundingNoise(0.0, 0.0),
        float64=RoundingNoise(0.0, 0.0),
        slope=1.0,
        curvature=1.0,
    )
    model: Any = Layers(on_self)
    model.prefix = SharedPrefix(3, lambda prefix: None)
    check_prefix(model, [model], model, Directions(model, 1), 0.1, calibration, CPU)
    assert model.prefix.skipped == "state"
