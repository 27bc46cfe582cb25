"""Parameters that cannot be moved along a direction: refused in one line, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions
from pytest_linearity.errors import MeasurementError


def with_parameter(tensor: Tensor) -> nn.Module:
    model = nn.Module()
    model.layer = nn.Linear(3, 2)
    model.layer.odd = nn.Parameter(tensor, requires_grad=False)
    return model


def sharing(make: Callable[[Tensor], tuple[Tensor, Tensor]]) -> nn.Module:
    model = nn.Module()
    first, second = make(torch.arange(24.0).reshape(4, 6))
    model.first, model.second = nn.Parameter(first), nn.Parameter(second)
    return model


def scripted() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), torch.jit.script(nn.Sequential(nn.Linear(3, 2))))


def half_loaded() -> nn.Module:
    model = nn.Linear(3, 2)
    model.register_buffer("table", torch.empty(2, device="meta"))
    return model


REFUSED = {
    "lazy": (lambda: nn.LazyLinear(2), r"parameter 'weight' is not initialised yet"),
    "lazy buffer": (
        lambda: nn.Sequential(nn.LazyBatchNorm1d(affine=False), nn.Linear(3, 2)),
        r"buffer '0\.running_mean' is not initialised yet",
    ),
    "meta": (lambda: nn.Linear(3, 2, device="meta"), r"parameter 'weight' is on the meta device"),
    "meta buffer": (half_loaded, r"buffer 'table' is on the meta device"),
    "complex": (
        lambda: with_parameter(torch.zeros(2, dtype=torch.complex64)),
        r"parameter 'layer\.odd' is complex \(torch\.complex64\).*view_as_real",
    ),
    "integer": (
        lambda: with_parameter(torch.zeros(2, dtype=torch.int64)),
        r"parameter 'layer\.odd' is not floating \(torch\.int64\).*buffer.*`param_scope`",
    ),
    "bool": (
        lambda: with_parameter(torch.zeros(2, dtype=torch.bool)),
        r"parameter 'layer\.odd' is not floating \(torch\.bool\)",
    ),
    "expanded": (
        lambda: with_parameter(torch.zeros(1).expand(4)),
        r"parameter 'layer\.odd' is expanded",
    ),
    "same memory": (
        lambda: sharing(lambda x: (x, x.detach())),
        r"parameters 'first' and 'second' share memory",
    ),
    "transposed": (
        lambda: sharing(lambda x: (x, x.T)),
        r"parameters 'first' and 'second' share memory",
    ),
    "a row": (lambda: sharing(lambda x: (x, x[3])), r"'first' and 'second' share memory"),
    "a column": (lambda: sharing(lambda x: (x[:, 5], x)), r"'first' and 'second' share memory"),
    "strided": (
        lambda: sharing(lambda x: (x[:, :4], x[1:3, 3:])),
        r"'first' and 'second' share memory",
    ),
    "scripted": (scripted, r"parameter '1\.0\.weight' belongs to a module that is scripted"),
    "traced": (
        lambda: torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3)),
        r"parameter 'weight' belongs to a module that is scripted or traced",
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_is_refused_by_name(kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(MeasurementError, match=message) as caught:
        Directions(make(), 1)
    assert "\n" not in str(caught.value)


MEASURED = {
    "tied": lambda: sharing_one(),
    "rows apart": lambda: sharing(lambda x: (x[:2], x[2:])),
    "columns apart": lambda: sharing(lambda x: (x[:, :3], x[:, 3:])),
    "every other column": lambda: sharing(lambda x: (x[:, ::2], x[:, 1::2])),
    "nothing twice": lambda: sharing(lambda x: (x[:0], x[:0])),
    "expanded to one": lambda: with_parameter(torch.zeros(1).expand(1, 1)),
}


def sharing_one() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize("kind", MEASURED)
def test_memory_that_is_not_shared_is_fine(kind: str) -> None:
    model = MEASURED[kind]()
    assert Directions(model, 1).names == tuple(name for name, _ in model.named_parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "model",
    [
        with_parameter(torch.zeros(2, dtype=torch.int64)),
        with_parameter(torch.zeros(1).expand(4)),
    ],
    ids=["integer", "expanded"],
)
def test_what_is_not_in_scope_may_be_anything(model: nn.Module) -> None:
    names = Directions(model, 1, scope="regex:weight|bias").names
    assert names == ("layer.weight", "layer.bias")


@pytest.fixture
def one_process() -> Iterator[None]:
    distributed = torch.distributed
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("how", ["distribute_module", "fully_shard"])
def test_distributed_tensors_are_refused(how: str) -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import distribute_module, init_device_mesh

    model = nn.Sequential(nn.Linear(3, 2))
    mesh = init_device_mesh("cpu", (1,))
    if how == "fully_shard":
        fully_shard(model, mesh=mesh)
    else:
        distribute_module(model, mesh)
    with pytest.raises(MeasurementError, match=r"parameter '0\.weight' is a DTensor.*full_tensor"):
        Directions(model, 1)
