"""Parameters that are served to evaluations when they are used.

For the duration of a measurement each module's `_parameters` mapping is replaced by one of
placeholders. A placeholder knows its name, shape, dtype and device and holds no values; a torch
function that uses one suspends the evaluation until the values are there. `F.linear` and
`F.embedding` never see the values at all, only the product or the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from pytest_linearity.errors import MeasurementError, pass_on_foreign
from pytest_linearity.numerics.directions.layout import matrix_shape
from pytest_linearity.numerics.lockstep.dual import make_dual
from pytest_linearity.numerics.lockstep.evaluation import OutsideEvaluation, ask, under_transform
from pytest_linearity.numerics.lockstep.loans import refuse_to_write
from pytest_linearity.numerics.lockstep.requests import ProductRequest, Request, RowsRequest
from pytest_linearity.numerics.precision import writes_into_first

_METADATA_PROPERTIES = (
    *("shape", "ndim", "dtype", "device", "layout", "itemsize", "nbytes"),
    *("requires_grad", "grad", "is_leaf", "is_sparse", "is_quantized", "is_nested", "is_mkldnn"),
    *("is_cpu", "is_cuda", "is_meta", "is_mps", "is_xpu"),
)

_METADATA: frozenset[Any] = frozenset(
    [
        Tensor.dim,
        Tensor.size,
        Tensor.numel,
        Tensor.nelement,
        Tensor.element_size,
        Tensor.stride,
        Tensor.is_contiguous,
        Tensor.is_floating_point,
        Tensor.is_complex,
        Tensor.__len__,
        Tensor.__hash__,
        torch.is_floating_point,
        torch.is_complex,
        torch.numel,
        *(getattr(Tensor, name).__get__ for name in _METADATA_PROPERTIES),
    ]
)
"""Functions of a tensor that need no values."""


class Placeholder(Tensor):
    """The placeholder of a parameter, or of a run of its rows."""

    canonical: str
    start: int
    stop: int
    strays: list[OutsideEvaluation]
    """Reads outside of evaluations, of all parameters of the model."""

    @staticmethod
    def __new__(
        cls,
        name: str,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        strays: list[OutsideEvaluation],
        rows: tuple[int, int] | None = None,
    ) -> Placeholder:
        """A placeholder that looks like a tensor of this shape, dtype and device."""
        placeholder: Placeholder = Tensor._make_wrapper_subclass(
            cls, shape, dtype=dtype, device=device
        )
        placeholder.canonical = name
        placeholder.strays = strays
        placeholder.start, placeholder.stop = rows or (0, matrix_shape(shape)[0])
        # What `isinstance(…, nn.Parameter)` looks at.
        placeholder._is_param = True
        return placeholder

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        """Name and shape; there are no values to show."""
        return f"Placeholder({self.canonical!r}, rows={self.start}:{self.stop})"

    def row_slice(self, index: int) -> Placeholder:
        """The placeholder of entry `index` of the first of three or more dimensions."""
        with torch._C.DisableTorchFunctionSubclass():
            count, shape = self.shape[0], tuple(self.shape[1:])
            dtype, device = self.dtype, self.device
        index = index + count if index < 0 else index
        if not 0 <= index < count:
            raise IndexError(
                f"index {index} is out of range for the {count} entries of {self.canonical}"
            )
        height = (self.stop - self.start) // count
        start = self.start + index * height
        return Placeholder(
            self.canonical, shape, dtype, device, self.strays, (start, start + height)
        )

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer what needs no values; suspend the evaluation for what does."""
        kwargs = kwargs or {}
        if func in _METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if func in _WRITES or writes_into_first(func):
            _refuse_to_write(func, args)
        if func is torch.autograd.grad:
            _refuse_gradient(args, kwargs)
        handler = _HANDLERS.get(func)
        if handler is not None:
            response = handler(*args, **kwargs)
            if response is not NotImplemented:
                return response
        args, kwargs = tree_map(_cast_value if func in _CASTS else _value, (args, dict(kwargs)))
        return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Below this level a tangent would be lost, so nothing may arrive here."""
        names = [
            leaf.canonical for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Placeholder)
        ]
        raise RuntimeError(f"{func} used parameter {names[0]} in a way that cannot be followed")


def is_served(value: Any) -> TypeGuard[Placeholder]:
    """Whether a value is a placeholder; cheap, and safe inside a torch function mode."""
    return type(value) is Placeholder


def _value(leaf: Any) -> Any:
    return _materialise(leaf) if is_served(leaf) else leaf


def _cast_value(leaf: Any) -> Any:
    return _materialise(leaf, lends=False) if is_served(leaf) else leaf


def _materialise(placeholder: Placeholder, *, lends: bool = True) -> Tensor:
    with torch._C.DisableTorchFunctionSubclass():
        shape = tuple(placeholder.shape)
    request = Request(
        placeholder.canonical, placeholder.start, placeholder.stop, shape, lends=lends
    )
    value: Tensor = _ask(placeholder, request)
    return value


def _ask(placeholder: Placeholder, request: Request) -> Any:
    """`ask`; a thread of the forward's own may keep the error to itself, so it is noted."""
    try:
        return ask(request)
    except OutsideEvaluation as error:
        placeholder.strays.append(error)
        raise


def _refuse_to_write(func: Any, args: tuple[Any, ...]) -> None:
    """Raises MeasurementError if a function would change a parameter: it would not last."""
    if args and is_served(args[0]):
        raise refuse_to_write(args[0].canonical, getattr(func, "__name__", str(func)))


def _refuse_gradient(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raises MeasurementError: evaluations have no graph that leads to a parameter."""
    names = [leaf.canonical for leaf in tree_leaves((args, dict(kwargs))) if is_served(leaf)]
    raise MeasurementError(
        f"the forward takes a gradient with respect to parameter {names[0]!r}, which is not "
        "measured"
    )


def _attached(tensor: Any) -> Any:
    """The value itself: cut off from its parameter it would lose its tangent."""
    return _materialise(tensor) if is_served(tensor) else NotImplemented


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    if not is_served(weight) or is_served(input) or weight.dim() != 2:
        return NotImplemented
    if bias is not None and not is_served(bias):
        return NotImplemented
    # Products are taken outside of the forward, where neither gradients nor transforms reach.
    if under_transform() or (torch.is_grad_enabled() and input.requires_grad):
        return NotImplemented
    request = ProductRequest(
        weight.canonical,
        weight.start,
        weight.stop,
        tuple(weight.shape),
        input,
        None if bias is None else bias.canonical,
    )
    output, tangent = _ask(weight, request)
    return output if tangent is None else make_dual(output, tangent)


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    _refuse_max_norm(weight, max_norm)
    if not is_served(weight) or is_served(input) or weight.dim() != 2 or under_transform():
        return NotImplemented
    return _ask(
        weight,
        RowsRequest(weight.canonical, weight.start, weight.stop, tuple(weight.shape), input),
    )


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    *rest: Any,
    **more: Any,
) -> Any:
    _refuse_max_norm(weight, max_norm)
    return NotImplemented


def _refuse_max_norm(weight: Tensor, max_norm: float | None) -> None:
    """Raises MeasurementError if a look-up would scale the rows that it takes, in place."""
    if max_norm is not None and is_served(weight):
        raise MeasurementError(
            f"the forward scales rows of parameter {weight.canonical!r} in place "
            f"(max_norm={max_norm:g}), so it is no function of the checkpoint's parameters; set "
            "the module's `max_norm` to None"
        )


def _getitem(tensor: Tensor, index: Any) -> Any:
    if not is_served(tensor) or tensor.dim() < 3 or isinstance(index, bool):
        return NotImplemented
    if isinstance(index, Tensor) and index.dim() == 0 and not index.dtype.is_floating_point:
        index = int(index)
    return tensor.row_slice(index) if isinstance(index, int) else NotImplemented


_HANDLERS: dict[Any, Callable[..., Any]] = {
    nn.functional.linear: _linear,
    nn.functional.embedding: _embedding,
    nn.functional.embedding_bag: _embedding_bag,
    Tensor.__getitem__: _getitem,
    Tensor.detach: _attached,
    torch.detach: _attached,
    Tensor.data.__get__: _attached,  # type: ignore[attr-defined]
}

_CASTS: frozenset[Any] = frozenset(
    [Tensor.to, Tensor.type, Tensor.float, Tensor.half, Tensor.bfloat16, Tensor.double]
)
"""Functions that give a copy of the parameter, if not where it is served as they ask for."""

_WRITES: frozenset[Any] = frozenset([Tensor.data.__set__])  # type: ignore[attr-defined]
"""Functions that change their first argument in place, and whose names do not say so."""


@contextmanager
def serving(
    model: nn.Module,
    dtype: torch.dtype,
    device: torch.device,
    replace: Callable[[Tensor], Tensor],
) -> Iterator[dict[str, Tensor]]:
    """Replace a model's parameters by placeholders and its buffers by copies, for a while.

    The mappings that hold them are swapped, never what they hold, and swapped back however the
    block is left.

    Args:
        model: The model.
        dtype: Floating dtype in which evaluations see parameters.
        device: Where evaluations see them.
        replace: What evaluations see in place of a buffer.

    Yields:
        The parameters by canonical name, as the model holds them.

    Raises:
        OutsideEvaluation: If a parameter was read where no evaluation runs.
    """
    canonical: dict[int, str] = {}
    parameters: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        canonical[id(parameter)] = name
        parameters[name] = parameter.detach()
    strays: list[OutsideEvaluation] = []
    placeholders = {
        name: Placeholder(
            name,
            tuple(tensor.shape),
            dtype if tensor.is_floating_point() else tensor.dtype,
            device,
            strays,
        )
        for name, tensor in parameters.items()
    }
    saved = [(module, module._parameters, module._buffers) for module in model.modules()]
    try:
        for module, own, buffers in saved:
            module.__dict__["_parameters"] = {
                key: None if value is None else placeholders[canonical[id(value)]]
                for key, value in own.items()
            }
            module.__dict__["_buffers"] = {
                key: None if value is None else replace(value) for key, value in buffers.items()
            }
        yield parameters
    except Exception as error:
        pass_on_foreign(error)
        if strays:
            raise strays[0] from None
        raise
    else:
        if strays:
            raise strays[0]
    finally:
        for module, own, buffers in saved:
            module.__dict__["_parameters"] = own
            module.__dict__["_buffers"] = buffers
