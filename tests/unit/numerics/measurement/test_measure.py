"""`measure` against closed forms, and how it leaves what it measured."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, Measurement, measure
from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.calibration.calibration import Calibration
from pytest_linearity.numerics.measurement import schedule
from pytest_linearity.numerics.measurement.limits import Limits

RADII = (0.1, 1.0, 10.0)


class Net(nn.Module):
    """A module with one vector of parameters and a function of it and of two inputs."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], size: int = 12) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(size, dtype=torch.float64, generator=generator))
        self.x = torch.randn(3, size, dtype=torch.float64, generator=generator)
        self.function = function

    def forward(self) -> Tensor:
        return self.function(self.x, self.w)


def measured(net: nn.Module, **more: object) -> tuple[Measurement, list[Tensor]]:
    directions = Directions(net, 3, seed=5)
    result = measure(net, net, directions, RADII, **more)
    assert result.relative_error.shape == result.cosine_similarity.shape == (3, 3, 3)
    assert result.relative_error.dtype == result.cosine_similarity.dtype == torch.float64
    return result, [directions.tensor(k, "w").double() for k in range(3)]


def test_linear_logits_are_linear() -> None:
    """ε = 0 and c = 1 up to rounding of float64 at the smallest radius."""
    result, _ = measured(Net(lambda x, w: torch.einsum("pi,i->pi", x, w)))
    assert result.relative_error.max() < 1e-12
    assert (1 - result.cosine_similarity).max() < 1e-12
    assert result.jvp_method == "forward-mode"
    assert set(result.precision) == {"float64"}


def test_a_quadratic_has_the_figures_of_its_second_derivative() -> None:
    """f = x·w + w²: Δ_true = r(x + 2w)δ + r²δ², Δ_pred without the last term."""
    net = Net(lambda x, w: x * w + w**2)
    result, deltas = measured(net)
    w = net.w.detach()
    for i, r in enumerate(RADII):
        for k, delta in enumerate(deltas):
            predicted = r * (net.x + 2 * w) * delta
            true = predicted + (r * delta) ** 2
            error = (true - predicted).norm(dim=1) / true.norm(dim=1)
            cosine = (true * predicted).sum(1) / (true.norm(dim=1) * predicted.norm(dim=1))
            # Rounding of θ + rδ at r = 0.1, in float64.
            torch.testing.assert_close(result.relative_error[i, k], error, rtol=1e-10, atol=0)
            torch.testing.assert_close(result.cosine_similarity[i, k], cosine, rtol=1e-12, atol=0)


def test_logits_that_do_not_move_with_the_parameters() -> None:
    result, _ = measured(Net(lambda x, w: x + 0 * w))
    assert torch.equal(result.relative_error, torch.zeros(3, 3, 3, dtype=torch.float64))
    assert torch.equal(result.cosine_similarity, torch.ones(3, 3, 3, dtype=torch.float64))


def test_logits_that_do_not_move_though_their_derivative_does() -> None:
    """sin(2πnw) at w where it returns to itself: a true change of zero is undefined."""

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self) -> Tensor:
            # Flat beyond |w| ≥ 0.05, slope 1 at 0, and 0 again where the radii lead.
            near = (self.w.abs() < 0.05).to(self.w.dtype)
            return (near * self.w)[None]

    model = Steps()
    result = measure(model, model, Directions(model, 2), [0.1, 1.0])
    assert result.relative_error.isinf().all()


def test_nan_stays_visible() -> None:
    result, _ = measured(Net(lambda x, w: x * w * float("nan")))
    assert result.relative_error.isnan().all()
    assert result.cosine_similarity.isnan().all()
    assert set(result.noise_floor) == {None}


def test_several_batches_are_one_set_of_prompts() -> None:
    net = Net(lambda x, w: x * w + w**2)
    directions = Directions(net, 3, seed=5)
    whole = measure(net, net, directions, RADII)
    rows = [lambda p=p: (net.x * net.w + net.w**2)[p : p + 1] for p in range(3)]
    parts = measure(net, rows, directions, RADII)
    # The same operations on other shapes: rounding of float64, over the change at r = 0.1.
    torch.testing.assert_close(parts.relative_error, whole.relative_error, rtol=1e-10, atol=0)


class Everything(nn.Module):
    """Layers of many kinds, a tied matrix, a bias, a buffer, and an in-place change."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed = nn.Embedding(40, 16)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
            for _ in range(3)
        )
        self.mix = nn.Conv1d(16, 16, 3, padding=1)
        self.experts = nn.Parameter(torch.randn(4, 16, 16) * 0.2)
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 16))
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embed.weight
        self.ids = torch.randint(0, 40, (2, 5))
        self.to(dtype)

    def forward(self) -> Tensor:
        x = self.embed(self.ids)
        for i, block in enumerate(self.blocks):
            y = block(x)
            y += x  # a linear layer's output, changed in place
            x = nn.functional.linear(y, self.experts[i])
        x = self.mix(x.transpose(1, 2)).transpose(1, 2) * self.scale
        return self.head(x)[:, -1]


def state(model: nn.Module) -> dict[str, Tensor]:
    return {n: t.clone() for n, t in [*model.named_parameters(), *model.named_buffers()]}


def assert_untouched(model: nn.Module, before: dict[str, Tensor], names: list[str]) -> None:
    assert [n for n, _ in model.named_parameters()] == names
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        assert torch.equal(tensor, before[name]), name
        assert tensor.grad is None
    for module in model.modules():
        for parameter in module._parameters.values():
            assert parameter is None or type(parameter) is nn.Parameter


def plain(model: nn.Module, directions: Directions, radii: tuple[float, ...]) -> Measurement:
    from tests.support.oracle import brute_force

    deltas = [
        {n: directions.tensor(k, n) for n in directions.names} for k in range(directions.count)
    ]
    return brute_force(model, lambda m: m(), deltas, radii)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scope", ["full", "last_blocks:1"])
@pytest.mark.parametrize("precision", ["auto", "float64"])
def test_every_kind_of_layer(dtype: torch.dtype, scope: str, precision: str) -> None:
    model = Everything(dtype)
    directions, radii = Directions(model, 2, scope=scope), (1e-3, 0.1, 3.0)
    before, names = state(model), [n for n, _ in model.named_parameters()]
    result = measure(model, model, directions, radii, precision)
    assert_untouched(model, before, names)
    truth = plain(model, directions, radii)
    if precision == "float64":
        # Rounding of float64 over a change of about 1e-3.
        close = {"rtol": 1e-7, "atol": 1e-11}
    else:
        # What `auto` promises.
        close = {"rtol": 1e-2, "atol": 1e-4}
    torch.testing.assert_close(result.relative_error, truth.relative_error(radii), **close)
    torch.testing.assert_close(result.cosine_similarity, truth.cosine_similarity(radii), **close)


def test_auto_takes_float64_only_where_it_must() -> None:
    model = Everything()
    radii = (1e-5, 3.0)
    result = measure(model, model, Directions(model, 2), radii)
    assert result.precision == ("float64", "float32")
    assert result.noise_floor[0] < 1e-6
    single = measure(model, model, Directions(model, 2), radii, "float32")
    assert single.precision == ("float32", "float32")
    # In float32 the floor at 1e-4 is what stands in place of ε itself.
    assert single.noise_floor[0] > 10 * float(result.relative_error[0].mean())
    measured_floor = float(single.relative_error[0].mean())
    assert single.noise_floor[0] == pytest.approx(measured_floor, rel=1.0)


def test_a_figure_that_float32_did_not_carry_after_all_is_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Calibration, "float32_carries", lambda *_: True)
    model, radii = Everything(), (1e-5, 3.0)
    result = measure(model, model, Directions(model, 2), radii)
    assert result.precision == ("float64", "float32")
    truth = plain(model, Directions(model, 2), radii)
    torch.testing.assert_close(
        result.relative_error, truth.relative_error(radii), rtol=1e-2, atol=1e-4
    )


def test_a_verdict_that_rounding_could_turn_is_reached_in_float64() -> None:
    model, radii = Everything(), (3.0,)
    directions = Directions(model, 2)
    exact = measure(model, model, directions, radii, "float64")
    error = float(exact.relative_error.mean())

    def precision(relative_error: float, cosine: float) -> tuple[str, ...]:
        limits = Limits(relative_error, cosine)
        return measure(model, model, directions, radii, limits=limits).precision

    assert precision(error * 1.5, 0.0) == ("float32",)
    assert precision(error * (1 + 1e-9), 0.0) == ("float64",)
    assert precision(10.0, float(exact.cosine_similarity.mean()) + 1e-12) == ("float64",)


def test_the_noise_floor_is_the_rounding_of_this_radius() -> None:
    model = Everything()
    result = measure(model, model, Directions(model, 2), (1e-3, 1e-2), "float32")
    assert result.noise_floor[0] == pytest.approx(10 * result.noise_floor[1], rel=0.2)


class Failing(Everything):
    """Raises in the middle of the third forward at a perturbed point."""

    raises: BaseException = ValueError("on purpose")
    calls = 0

    def forward(self) -> Tensor:
        x = self.embed(self.ids)
        type(self).calls += 1
        if type(self).calls == 20:
            self.fail()
        return self.head(self.blocks[0](x))[:, -1]

    def fail(self) -> None:
        raise self.raises


@pytest.mark.parametrize("error", [ValueError("on purpose"), KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupted_measurement_leaves_the_model_as_it_was(error: BaseException) -> None:
    model = Failing()
    Failing.calls, Failing.raises = 0, error
    before, names = state(model), [n for n, _ in model.named_parameters()]
    with pytest.raises(type(error)):
        measure(model, model, Directions(model, 3), RADII, "float64")
    assert Failing.calls == 20
    assert_untouched(model, before, names)
    assert torch.get_default_dtype() is torch.float32
    assert torch.is_grad_enabled()
    assert not torch.overrides._get_current_function_mode_stack()


def test_forwards_are_unwound_when_one_fails() -> None:
    unwound, started = [], [0]

    class Guarded(Failing):
        calls = 0
        raises = ValueError("on purpose")

        def forward(self) -> Tensor:
            started[0] += 1
            try:
                return super().forward()
            finally:
                unwound.append(1)

    model = Guarded()
    with pytest.raises(ValueError, match="on purpose"):
        measure(model, model, Directions(model, 3), RADII, "float64")
    # One more than reached the counter: a forward suspended at its first parameter is unwound too.
    assert len(unwound) >= Guarded.calls
    assert len(unwound) == started[0]


def test_sigterm_ends_the_measurement_as_an_interrupt() -> None:
    model = Failing()
    Failing.calls = 0
    sent = threading.Event()

    def fail() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        sent.set()
        time.sleep(5)  # the signal arrives long before

    model.fail = fail  # type: ignore[method-assign]
    before, names = state(model), [n for n, _ in model.named_parameters()]
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        measure(model, model, Directions(model, 3), RADII, "float64")
    assert sent.is_set() or Failing.calls == 20
    assert_untouched(model, before, names)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried 1 TB"),
    ],
)
def test_out_of_memory_names_the_remedy(error: BaseException) -> None:
    model = Failing()
    Failing.calls, Failing.raises = 0, error
    with pytest.raises(MeasurementError, match=r"out of memory .* `batch_size`"):
        measure(model, model, Directions(model, 3), RADII, "float64")


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_caller_may_be_in_any_mode(mode: Callable[[], AbstractContextManager]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 40), nn.Tanh(), nn.Linear(40, 3))
    x = torch.randn(40, 5)

    def figures() -> Tensor:
        # What is made in inference mode stays of its kind.
        inputs = x.clone()
        return measure(model, lambda: model(inputs), Directions(model, 2), (0.1,)).relative_error

    outside = figures()
    with mode():
        inside = figures()
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


def test_little_memory_means_more_rounds_and_the_same_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Everything()
    runs = [_Sized(model, 10), _Sized(model, 10), _Sized(model, 10)]
    directions = Directions(model, 3)
    seen: list[tuple[int, int]] = []
    once = measure(model, runs, directions, RADII, "float64")
    monkeypatch.setattr(schedule, "MEMORY_BUDGET", 20_000)
    often = measure(model, runs, directions, RADII, "float64", progress=lambda *at: seen.append(at))
    assert seen[-1][1] > 3 * len(list(model.parameters()))
    # Fewer evaluations are stacked in one product: rounding of float64.
    torch.testing.assert_close(often.relative_error, once.relative_error, rtol=1e-9, atol=1e-12)


class _Sized:
    """A call that says how many tokens it has."""

    def __init__(self, model: nn.Module, tokens: int) -> None:
        self.model = model
        self.tokens = tokens

    def __call__(self) -> Tensor:
        return self.model()


def test_a_forward_that_is_not_deterministic_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4))
    x = torch.ones(2, 4)
    with pytest.raises(MeasurementError, match=r"not deterministic: .* differ by \d"):
        measure(model, lambda: model(x), Directions(model, 1), [0.1])
    measure(model.eval(), lambda: model(x), Directions(model, 1), [0.1])


class Cached(nn.Module):
    """Reads its weight through a reference that the module does not own."""

    def __init__(self, view: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        weight = self.linear.weight
        self.kept = (weight.detach().T if view else weight,)

    def forward(self) -> Tensor:
        return self.linear(torch.ones(2, 4)) @ self.kept[0]


@pytest.mark.parametrize("view", [False, True])
def test_a_cached_parameter_is_found_and_named(view: bool) -> None:
    model = Cached(view)
    with pytest.raises(MeasurementError, match=r"reads parameter 'linear\.weight'"):
        measure(model, model, Directions(model, 1), [0.1])


class NoForwardMode(torch.autograd.Function):
    """A cube without a forward-mode derivative."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x**3

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        raise AssertionError("not used")


def test_central_differences_where_forward_mode_is_missing() -> None:
    class Cube(nn.Module):
        def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
            self.function = function

        def forward(self) -> Tensor:
            first, second = self.layers
            return second(self.function(first(torch.ones(2, 6))))

    without, with_ = Cube(NoForwardMode.apply), Cube(lambda x: x**3)
    results = [measure(m, m, Directions(m, 2), RADII, "float64") for m in (without, with_)]
    assert results[0].jvp_method == "central-differences"
    assert "jvp" in results[0].no_forward_mode
    assert results[1].jvp_method == "forward-mode"
    assert results[1].no_forward_mode is None
    # Richardson's extrapolation in float64.
    torch.testing.assert_close(
        results[0].relative_error, results[1].relative_error, rtol=1e-8, atol=1e-9
    )


class Routed(nn.Module):
    """Two experts, chosen by a router; expert outputs differ, so a flip is a jump."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.router = nn.Linear(8, 4)
        self.experts = nn.Parameter(torch.randn(4, 8, 8))
        self.register_buffer("x", torch.randn(50, 8))

    def forward(self) -> Tensor:
        scores, chosen = self.router(self.x).topk(2, dim=-1)
        out = torch.zeros_like(self.x).to(scores.dtype)
        for expert in chosen.unique().tolist():
            token, slot = (chosen == expert).nonzero(as_tuple=True)
            y = nn.functional.linear(self.x[token], self.experts[expert])
            out.index_add_(0, token, y.to(out.dtype) * scores[token, slot, None])
        return out


def test_flipped_routing_decisions_are_counted() -> None:
    model = Routed()
    directions, radii = Directions(model, 2), (1e-5, 3.0)
    result = measure(model, model, directions, radii, "float64")
    assert result.routing_flips is not None
    expected = 0
    with torch.no_grad():

        def chosen(weight: Tensor, bias: Tensor) -> Tensor:
            return (model.x @ weight.T + bias).topk(2).indices.sort(dim=-1).values

        before = chosen(model.router.weight, model.router.bias)
        for k in range(2):
            w, b = (directions.tensor(k, f"router.{n}") * 3.0 for n in ("weight", "bias"))
            after = chosen(model.router.weight + w, model.router.bias + b)
            expected += int((before != after).any(-1).sum())
    assert result.routing_flips == (0, expected)
    assert expected > 0
    more = Directions(model, 2, kinds=["gaussian", "rademacher"])
    both = measure(model, model, more, radii, "float64")
    assert both.by_kind["gaussian"].routing_flips == (0, expected)
    assert both.routing_flips == (
        0,
        sum(facts.routing_flips[1] for facts in both.by_kind.values() if facts.routing_flips),
    )
    truth = plain(model, directions, radii)
    torch.testing.assert_close(
        result.relative_error, truth.relative_error(radii), rtol=1e-6, atol=1e-8
    )


def test_what_a_router_chooses_for_padding_does_not_count() -> None:
    model = Routed()
    model.x = model.x[:6]

    class Padded:
        """A call that says which of its tokens are padding."""

        def __init__(self, *padding: int) -> None:
            self.real = torch.ones(len(model.x), dtype=torch.bool)
            self.real[list(padding)] = False

        def __call__(self) -> Tensor:
            return model()

    directions = Directions(model, 2)

    def flips(*padding: int) -> int:
        counts = measure(model, Padded(*padding), directions, [3.0], "float64").routing_flips
        assert counts is not None
        return counts[0]

    everything = range(len(model.x))
    assert flips(*everything) == 0
    # Each token's own flips are what is left where all others are padding.
    each = [flips(*(i for i in everything if i != token)) for token in everything]
    assert sum(each) == flips() > 0
    assert flips(0) == flips() - each[0]


def test_a_model_without_choices_reports_none() -> None:
    model = Everything()
    assert measure(model, model, Directions(model, 1), [1.0]).routing_flips is None


def test_progress_goes_from_nothing_to_everything() -> None:
    seen: list[tuple[int, int]] = []
    model = Everything()
    measure(model, model, Directions(model, 2), (1e-4, 1.0), progress=lambda *at: seen.append(at))
    done, totals = zip(*seen, strict=True)
    assert len(set(totals)) == 1
    assert list(done) == sorted(done)
    assert done[-1] == totals[0]


@pytest.mark.parametrize(
    ("radii", "precision", "message"),
    [
        ([], "auto", "radii is"),
        ([0.1, 0.1], "auto", "different numbers"),
        ([0.0], "auto", "finite and positive"),
        ([float("nan")], "auto", "finite and positive"),
        ([1.0], "float16", "precision is 'float16'"),
    ],
)
def test_arguments_out_of_range(radii: list[float], precision: str, message: str) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=message):
        measure(model, lambda: model(torch.ones(1, 2)), Directions(model, 1), radii, precision)
    with pytest.raises(ValueError, match="logits is empty"):
        measure(model, [], Directions(model, 1), [1.0])
