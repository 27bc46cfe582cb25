"""Parameters along which a model can be moved: what is refused, and by which name.

A direction moves real entries, each by itself, that forwards read from the module that owns them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from pytest_linearity.errors import MeasurementError


def check_held(model: nn.Module) -> None:
    """Refuse a model whose parameters hold no plain values.

    Raises:
        MeasurementError: With the name of a parameter or buffer that is not initialised or on the
            meta device, or of a parameter that is a subclass, as a DTensor.
    """
    for name, tensor in _tensors(model):
        what = f"parameter {name!r}" if isinstance(tensor, nn.Parameter) else f"buffer {name!r}"
        if is_lazy(tensor):
            raise MeasurementError(
                f"{what} is not initialised yet, as its module is lazy; run the model once first"
            )
        if tensor.is_meta:
            raise MeasurementError(f"{what} is on the meta device, without values; load it first")
        if is_traceable_wrapper_subclass(tensor):
            kind = type(tensor.data).__name__
            raise MeasurementError(
                f"{what} is a {kind}, which is not measured; replace it with a plain tensor "
                "(`full_tensor()` of a DTensor), or load the saved checkpoint"
            )


def check_moved(model: nn.Module, names: Iterable[str]) -> None:
    """Refuse parameters that cannot be moved along a direction.

    Args:
        model: The model.
        names: Canonical names of the parameters in scope.

    Raises:
        MeasurementError: With the name of a parameter in scope that is not real, that shares memory
            with another, or that belongs to a scripted or traced module.
    """
    parameters = dict(model.named_parameters())
    scope = set(names)
    for name in names:
        dtype = parameters[name].dtype
        if not dtype.is_floating_point:
            kind = "complex" if dtype.is_complex else "not floating"
            help_ = "hold it as `torch.view_as_real`" if dtype.is_complex else "make it a buffer"
            raise MeasurementError(
                f"parameter {name!r} is {kind} ({dtype}), and directions are real; {help_}, or "
                "leave it out of `param_scope`"
            )
    _check_scripted(model, {id(parameters[name]): name for name in names})
    for name, other in _overlapping(parameters):
        if not scope.isdisjoint((name, other)):
            if name == other:
                raise MeasurementError(
                    f"parameter {name!r} is expanded: entries share memory, and none can be moved "
                    "alone; `clone()` it, or expand it in the forward"
                )
            raise MeasurementError(
                f"parameters {name!r} and {other!r} share memory, so that neither can be moved "
                "alone; let them be one parameter, or `clone()` one"
            )


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _check_scripted(model: nn.Module, names: Mapping[int, str]) -> None:
    for path, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            continue
        # A scripted module gives its parameters out as new objects: by name, then.
        prefix = f"{path}." if path else ""
        for own, _ in module.named_parameters():
            if prefix + own in names.values():
                raise MeasurementError(
                    f"parameter {prefix + own!r} belongs to a module that is scripted or traced "
                    "(torch.jit), which no perturbation reaches; measure the module it was made of"
                )


def _overlapping(parameters: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Pairs of parameters of which an entry lies at the same place; twice the same if expanded."""
    order = {name: place for place, name in enumerate(parameters)}
    by_storage: dict[tuple[torch.device, int], list[str]] = {}
    for name, tensor in parameters.items():
        if tensor.layout is not torch.strided or not tensor.numel():
            continue
        if any(
            size > 1 and not step for size, step in zip(tensor.shape, tensor.stride(), strict=True)
        ):
            yield name, name
        place = tensor.device, tensor.untyped_storage().data_ptr()
        by_storage.setdefault(place, []).append(name)
    for names in by_storage.values():
        names.sort(key=lambda name: parameters[name].data_ptr())
        reach: list[str] = []  # those whose memory may reach to the next
        for name in names:
            start = parameters[name].data_ptr()
            reach = [other for other in reach if _end(parameters[other]) > start]
            for other in reach:
                if _meet(parameters[other], parameters[name]):
                    first, second = sorted((other, name), key=order.__getitem__)
                    yield first, second
            reach.append(name)


def _end(tensor: Tensor) -> int:
    """Address behind the last entry."""
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return int(tensor.data_ptr() + (last + 1) * tensor.element_size())


def _meet(one: Tensor, other: Tensor) -> bool:
    """Whether two parameters whose memory overlaps have an entry at the same address."""
    if one.is_contiguous() and other.is_contiguous():
        return True
    return bool(torch.isin(_addresses(one), _addresses(other)).any())


def _addresses(tensor: Tensor) -> Tensor:
    """Of every entry, int64 Tensor [entries]."""
    places = torch.zeros((), dtype=torch.int64)
    for size, step in zip(tensor.shape, tensor.stride(), strict=True):
        places = places[..., None] + torch.arange(size) * step
    return places.reshape(-1) * tensor.element_size() + tensor.data_ptr()
