"""Modules that do what few do: the right figure, or one line that says why there is none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_linearity import Directions, Measurement, measure
from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.calibration.calibration import calibrate
from tests.support.in_place import TOLERANCE, relative_error

X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
RADII = (0.03, 0.3)
pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")


class Net(nn.Module):
    """Three layers, more parameters by name, and a forward that is given."""

    def __init__(
        self, forward: Callable[[Any, Tensor], Tensor], x: Tensor = X, **more: Any
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 5)
            for name, make in more.items():
                setattr(self, name, make())
        self.double()
        self.function = forward
        self.x = x

    def forward(self) -> Tensor:
        return self.function(self, self.x)


def plain(m: Any, x: Tensor) -> Tensor:
    return m.c(m.b(m.a(x).tanh()).tanh())


def with_entries_of_none(m: Any, x: Tensor) -> Tensor:
    none = m.none.sum() + m.narrow(x[:, :0]).sum() + m.flat(x).sum() + m.cube.sum()
    return plain(m, x) + none + m.rows(torch.tensor([0, 1, 1])).sum() + m.layer(x[:0]).sum()


ENTRIES_OF_NONE: dict[str, Callable[[], Any]] = {
    "none": lambda: nn.Parameter(torch.zeros(0)),
    "cube": lambda: nn.Parameter(torch.zeros(2, 0, 3)),
    "narrow": lambda: nn.Linear(0, 5),
    "flat": lambda: nn.Linear(4, 0),
    "rows": lambda: nn.Embedding(4, 0),
    "layer": lambda: nn.Linear(4, 3),
}


def transposed(m: Any, x: Tensor) -> Tensor:
    return functional.linear(plain(m, x), m.w) + torch.einsum("pi,ijk->pk", x, m.t).tanh()


TRANSPOSED: dict[str, Callable[[], Any]] = {
    "w": lambda: nn.Parameter(torch.randn(5, 5).t()),
    "t": lambda: nn.Parameter(torch.randn(5, 6, 4).permute(2, 1, 0)),
}


def views() -> Net:
    net = Net(plain)
    whole = torch.randn(9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    net.a.weight, net.c.bias = nn.Parameter(whole[2:8, 3:7]), nn.Parameter(whole[:5, 8])
    return net


def energy_gradient(m: Any, x: Tensor) -> Tensor:
    """As a network of forces takes it."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        energy = (x**3).sum() + m.c(m.a(x).tanh()).pow(3).sum()
        (force,) = torch.autograd.grad(energy, x, create_graph=True)
    return plain(m, force)


def gradient_of_a_detached_graph(m: Any, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        (force,) = torch.autograd.grad(m.a(x).pow(2).sum() + x.sum(), x)
    return plain(m, force)


def mapped(m: Any, x: Tensor) -> Tensor:
    return torch.vmap(partial(plain, m))(x)


def embedded_in_a_map(m: Any, x: Tensor) -> Tensor:
    return plain(m, torch.vmap(m.rows)(torch.tensor([0, 2, 1])))


def jacobian(transform: Callable[..., Any], m: Any, x: Tensor) -> Tensor:
    def one(row: Tensor) -> Tensor:
        return m.b(m.a(row).tanh()).tanh()

    return m.c(torch.vmap(transform(one))(x).sum(-1))


def gradient(m: Any, x: Tensor) -> Tensor:
    """Parameters inside and after the transform."""

    def loss(x: Tensor) -> Tensor:
        return m.b(m.a(x).tanh()).pow(3).sum()

    return plain(m, torch.func.grad(loss)(x))


def awaited(m: Any, x: Tensor) -> Tensor:
    async def hidden(x: Tensor) -> Tensor:
        x = m.a(x).tanh()
        await asyncio.sleep(1e-6)
        return m.b(x).tanh()

    async def both() -> list[Tensor]:
        return await asyncio.gather(hidden(x), hidden(2 * x))

    return m.c(sum(asyncio.run(both())))


NETS: dict[str, Callable[[], Net]] = {
    "parameters without entries": lambda: Net(with_entries_of_none, **ENTRIES_OF_NONE),
    "not contiguous": lambda: Net(transposed, **TRANSPOSED),
    "views": views,
    "a gradient inside": lambda: Net(energy_gradient),
    "a gradient inside, no graph": lambda: Net(gradient_of_a_detached_graph),
    "vmap": lambda: Net(mapped),
    "vmap of an embedding": lambda: Net(embedded_in_a_map, rows=lambda: nn.Embedding(4, 4)),
    "jacrev": lambda: Net(partial(jacobian, torch.func.jacrev)),
    "jacfwd": lambda: Net(partial(jacobian, torch.func.jacfwd)),
    "func.grad": lambda: Net(gradient),
    "asyncio": lambda: Net(awaited),
    "data parallel": lambda: Net(lambda m, x: m.p(plain(m, x)), p=_parallel),
    "fx": lambda: Net(lambda m, x: m.p(plain(m, x)), p=_symbolic),
}


def _parallel() -> nn.Module:
    return nn.DataParallel(nn.Sequential(nn.Linear(5, 5), nn.Tanh()))


def _symbolic() -> nn.Module:
    return torch.fx.symbolic_trace(nn.Sequential(nn.Linear(5, 5), nn.Tanh()))


def measured(model: nn.Module, run: Callable[[], Tensor] | None = None, **more: Any) -> Measurement:
    directions = Directions(model, 2, **more)
    return measure(model, model if run is None else run, directions, RADII, "float64")


@pytest.mark.parametrize("scope", ["full", "regex:^c"])
@pytest.mark.parametrize("name", NETS)
def test_figures_are_those_of_moving_parameters_in_place(name: str, scope: str) -> None:
    net = NETS[name]()
    result = measured(net, scope=scope)
    expected = relative_error(net, net, Directions(net, 2, scope=scope), RADII)
    torch.testing.assert_close(result.relative_error, expected, **TOLERANCE)
    # The level of torch's forward mode is one for all that runs.
    assert (result.not_interleaved is not None) == (name == "jacfwd")


@pytest.mark.parametrize("name", ["jacrev", "func.grad", "vmap"])
@pytest.mark.parametrize("scope", ["full", "regex:^c"])
def test_what_runs_before_a_transform_may_be_shared(name: str, scope: str) -> None:
    net = NETS[name]()
    directions = Directions(net, 1, scope=scope)
    assert calibrate(net, net, directions, 0.1, torch.device("cpu")).share_trunk


@pytest.mark.parametrize("kind", ["rademacher", "layerwise", "filterwise"])
def test_every_kind_of_direction_knows_parameters_without_entries(kind: str) -> None:
    net = Net(with_entries_of_none, **ENTRIES_OF_NONE)
    result = measured(net, kinds=[kind])
    expected = relative_error(net, net, Directions(net, 2, kinds=[kind]), RADII)
    torch.testing.assert_close(result.relative_error, expected, **TOLERANCE)


def compiled(net: Net) -> tuple[nn.Module, Callable[[], Tensor]]:
    module = torch.compile(net, backend="eager")
    return module, module


def compiled_in_place(net: Net) -> tuple[nn.Module, Callable[[], Tensor]]:
    net.compile(backend="eager")
    return net, net


def compiled_elsewhere(net: Net) -> tuple[nn.Module, Callable[[], Tensor]]:
    return net, torch.compile(net, backend="eager")


def compiled_before(net: Net) -> tuple[nn.Module, Callable[[], Tensor]]:
    run = torch.compile(net, backend="eager")
    with torch.no_grad():
        run()
    return net, run


@pytest.mark.parametrize("make", [compiled, compiled_in_place, compiled_elsewhere, compiled_before])
def test_of_a_compiled_module_the_one_inside_is_measured(make: Any) -> None:
    import torch._dynamo

    model, run = make(Net(plain))
    result = measured(model, run)
    inside = getattr(model, "_orig_mod", model)
    expected = relative_error(model, inside.forward, Directions(model, 2), RADII)
    torch.testing.assert_close(result.relative_error, expected, **TOLERANCE)
    again = measure(model, run, Directions(model, 2), RADII, "float64", calibration=run)
    assert torch.equal(again.relative_error, result.relative_error)


class Recurrent(nn.Module):
    """Torch's float32 kernel has no forward mode; that of float64 has."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.lstm, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 5)
        self.to(dtype)
        self.x = torch.stack([X, X.flip(0), X], dim=1).to(dtype)

    def forward(self) -> Tensor:
        return self.head(self.lstm(self.x)[0][:, -1])


@pytest.mark.parametrize("precision", ["auto", "float32", "float64"])
def test_forward_mode_in_float64_alone_gives_the_derivatives(precision: str) -> None:
    model = Recurrent(torch.float32)
    result = measure(
        model, model, Directions(model, 2), RADII, precision, second_order=precision == "float32"
    )
    assert result.jvp_method == "forward-mode"
    assert result.no_forward_mode is None
    assert set(result.precision) == {"float64" if precision == "float64" else "float32"}
    exact = Recurrent(torch.float64)
    exact.load_state_dict(model.state_dict())
    exact.x = model.x.double()
    expected = relative_error(exact, exact, Directions(exact, 2), RADII)
    # What float32 carries: 1% or 1e-4 of every figure.
    close = TOLERANCE if precision == "float64" else {"rtol": 1e-2, "atol": 1e-4}
    torch.testing.assert_close(result.relative_error, expected, **close)
    assert (result.curvature_ratio is not None) == (precision == "float32")


def unread(m: Any, x: Tensor) -> Tensor:
    """The layer b is not read, the parameter of `dead` is, to no avail."""
    return m.c(m.a(x).tanh()) + 0.0 * m.dead.sum()


def test_a_scope_that_no_evaluation_asks_for_is_refused() -> None:
    net = Net(unread, dead=lambda: nn.Parameter(torch.ones(2)))
    for precision in ("float64", "auto"):
        with pytest.raises(
            MeasurementError,
            match=r"asked for any parameter in scope \(regex:\^b: b\.weight, b\.bias\)",
        ):
            measure(net, net, Directions(net, 1, scope="regex:^b"), RADII, precision)
    still = measured(net, scope="regex:dead")
    assert still.still == (True, True)
    assert measured(net, scope="biases").still == (False, False)


def test_a_bias_that_only_a_product_asks_for_is_asked_for() -> None:
    net = Net(lambda m, x: plain(m, x) + 0.0 * m.dead(x), dead=lambda: nn.Linear(4, 5))
    assert measured(net, scope="regex:dead.bias").still == (True, True)


def test_a_scope_that_only_other_prompts_ask_for_is_measured() -> None:
    net = Net(lambda m, x: plain(m, x) if len(x) > 2 else m.c(m.a(x).tanh()))

    def run(x: Tensor) -> Tensor:
        net.x = x
        return net()

    batches = [partial(run, X[:2]), partial(run, X)]
    directions = Directions(net, 1, scope="regex:^b")
    result = measure(net, batches, directions, RADII, "float64")
    assert (result.relative_error[..., :2] == 0).all()
    expected = relative_error(net, batches[1], directions, RADII)
    torch.testing.assert_close(result.relative_error[..., 2:], expected, **TOLERANCE)


def from_a_trace(net: Net) -> Callable[[], Tensor]:
    layers = nn.Sequential(net.a, nn.Tanh(), net.c)
    return partial(torch.jit.trace(layers, X), X)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forward_that_was_traced_is_refused() -> None:
    net = Net(plain)
    with pytest.raises(MeasurementError, match=r"asked for any of the model's.*\(torch\.jit\)"):
        measured(net, from_a_trace(net))


@pytest.mark.parametrize(
    "make",
    [partial(nn.Embedding, max_norm=0.5), partial(nn.EmbeddingBag, max_norm=0.5)],
    ids=["Embedding", "EmbeddingBag"],
)
def test_rows_that_a_look_up_scales_are_refused(make: Callable[..., nn.Module]) -> None:
    net = Net(
        lambda m, x: plain(m, m.rows(torch.tensor([[0, 1], [2, 3]])).reshape(-1, 4)),
        rows=lambda: make(5, 4),
    )
    with pytest.raises(MeasurementError, match=r"'rows\.weight' in place \(max_norm=0\.5\).*None$"):
        measured(net)


WRITES: dict[str, Callable[[Tensor], object]] = {
    "data": lambda w: w.data.clamp_(-0.1, 0.1),
    "detach": lambda w: w.detach().mul_(2),
    "view": lambda w: w.view(-1).mul_(2),
    "row": lambda w: w[0].zero_(),
    "transposed": lambda w: w.t().add_(1),
    "cast to what it is": lambda w: w.data.double().mul_(2),
}


@pytest.mark.parametrize("scope", ["full", "regex:^c"])
@pytest.mark.parametrize("how", WRITES)
def test_a_parameter_that_is_written_into_by_an_alias_is_refused(how: str, scope: str) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        WRITES[how](m.a.weight)
        return plain(m, x)

    with pytest.raises(MeasurementError, match=r"changes parameter 'a\.weight' in place"):
        measured(Net(forward), scope=scope)


@pytest.mark.parametrize("last", [False, True])
def test_a_write_long_after_the_parameter_was_read_is_refused(last: bool) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        weight = m.b.weight.detach()
        hidden = m.a(x).tanh() @ weight
        logits = m.c(hidden) if last else hidden
        weight += 1
        return logits if last else m.c(logits)

    with pytest.raises(MeasurementError, match=r"changes parameter 'b\.weight' in place"):
        measured(Net(forward))


@pytest.mark.parametrize("cast", [Tensor.double, lambda w: w.to(torch.float64)])
def test_what_a_cast_has_copied_may_be_written_into(cast: Callable[[Tensor], Tensor]) -> None:
    def of(forward: Callable[[Any, Tensor], Tensor]) -> Measurement:
        return measured(Net(forward).to(torch.float32))

    def written(m: Any, x: Tensor) -> Tensor:
        weight = cast(m.a.weight)
        weight *= 2
        return functional.linear(functional.linear(x, weight).tanh(), cast(m.c.weight))

    def multiplied(m: Any, x: Tensor) -> Tensor:
        weight = 2 * m.a.weight.double()
        return functional.linear(functional.linear(x, weight).tanh(), m.c.weight.double())

    one, other = of(written), of(multiplied)
    torch.testing.assert_close(one.relative_error, other.relative_error, rtol=1e-9, atol=0)


def in_a_pool(m: Any, x: Tensor) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return m.c(pool.submit(m.a, x).result().tanh())


def in_a_thread(m: Any, x: Tensor) -> Tensor:
    """Where the error stays in the thread, and what it was to do is not done."""
    hidden = [torch.zeros(3, 6, dtype=x.dtype)]

    def work() -> None:
        with suppress(MeasurementError):
            hidden.append(m.a(x))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return m.c(hidden[-1])


def in_a_thread_that_is_waited_for(m: Any, x: Tensor) -> Tensor:
    """Where something else fails in the end."""
    hidden: list[Tensor] = []

    def work() -> None:
        with suppress(MeasurementError):
            hidden.append(m.a(x))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return m.c(hidden[0])


@pytest.mark.parametrize("forward", [in_a_pool, in_a_thread, in_a_thread_that_is_waited_for])
def test_threads_that_read_parameters_are_refused(forward: Callable[[Any, Tensor], Tensor]) -> None:
    with pytest.raises(MeasurementError, match=r"'a\.weight' was read outside of an evaluation"):
        measured(Net(forward))


def test_threads_that_read_none_are_fine() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool:
            return m.c(pool.submit(torch.tanh, m.a(x)).result())

    net = Net(forward)
    expected = relative_error(net, net, Directions(net, 2), RADII)
    torch.testing.assert_close(measured(net).relative_error, expected, **TOLERANCE)


def test_a_gradient_with_respect_to_a_parameter_is_refused() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            (g,) = torch.autograd.grad(m.a(x).pow(2).sum(), m.a.weight)
        return m.c((m.a(x) + x @ g.T).tanh())

    with pytest.raises(MeasurementError, match=r"gradient with respect to parameter 'a\.weight'"):
        measured(Net(forward))


def test_what_fails_here_and_not_by_itself_is_refused_in_one_line() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        if type(m.a.weight) is not nn.Parameter:
            raise TypeError("a parameter\nis wanted")
        return plain(m, x)

    with pytest.raises(MeasurementError, match=r"cannot be followed.*\(TypeError: a parameter\)$"):
        measured(Net(forward))


LOGITS: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "one dimension": (lambda m, x: plain(m, x)[0], r"shape \[5\].*`logits\[None\]`"),
    "three dimensions": (lambda m, x: plain(m, x)[:, None], r"shape \[3, 1, 5\]"),
    "a number": (lambda m, x: plain(m, x).sum(), r"shape \[\]"),
    "a tuple": (lambda m, x: (plain(m, x),), r"returned a tuple; it must return the logits"),
    "integers": (lambda m, x: plain(m, x).argmax(-1), r"a Tensor of torch\.int64"),
    "complex": (lambda m, x: plain(m, x) * 1j, r"a Tensor of torch\.complex128"),
}


@pytest.mark.parametrize("name", LOGITS)
def test_what_is_no_logits_is_refused(name: str) -> None:
    forward, message = LOGITS[name]
    with pytest.raises(MeasurementError, match=message):
        measured(Net(forward))


def test_what_is_no_logits_in_a_later_batch_is_refused() -> None:
    net = Net(plain)
    with pytest.raises(MeasurementError, match=r"shape \[5\]"):
        measure(net, [net, lambda: net()[0]], Directions(net, 1), RADII)
