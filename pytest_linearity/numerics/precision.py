"""Arithmetic: everything a model computes, in one dtype, on one device.

`model.double()` does not do this: transformers casts to float32 in norms, softmax and rotary
embeddings whatever the dtype of the weights. Here a torch function mode turns every such cast,
every dtype argument and every narrower tensor into the wanted dtype.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

_WIDTH = {torch.float16: 1, torch.bfloat16: 1, torch.float32: 2, torch.float64: 3}
_COMPLEX = {
    torch.float16: torch.complex32,
    torch.bfloat16: torch.complex32,
    torch.float32: torch.complex64,
    torch.float64: torch.complex128,
}
_GRADIENTS: frozenset[Any] = frozenset(
    [torch.autograd.grad, torch.autograd.backward, Tensor.backward]
)
"""Functions that look for their arguments in a graph, where no copy of them would be found."""
_CASTS: frozenset[Any] = frozenset([Tensor.float, Tensor.half, Tensor.bfloat16, Tensor.double])


@dataclass(frozen=True)
class Arithmetic:
    """In which dtype and where evaluations run."""

    dtype: torch.dtype
    """float32 or float64."""
    device: torch.device
    """Where parameters are served and buffers copied."""

    @property
    def name(self) -> str:
        """`float32` or `float64`."""
        return str(self.dtype).removeprefix("torch.")

    def modes(self, model: nn.Module) -> list[TorchFunctionMode]:
        """The modes a forward of this model needs: none where it computes in this dtype anyway."""
        dtypes = {t.dtype for t in chain(model.parameters(), model.buffers())}
        narrow = self.dtype == torch.float32 and torch.float64 in dtypes
        if self.dtype == torch.float32 and not dtypes & set(_WIDTH) - {torch.float32}:
            return []
        return [Uniform(self.dtype, narrow=narrow)]

    def buffer_copies(self) -> Callable[[Tensor], Tensor]:
        """A copy of a buffer for evaluations to see; the same copy for a shared buffer."""
        copies: dict[int, Tensor] = {}

        def copy(buffer: Tensor) -> Tensor:
            if id(buffer) not in copies:
                dtype = self.dtype if buffer.is_floating_point() else buffer.dtype
                copies[id(buffer)] = buffer.detach().to(self.device, dtype, copy=True)
            return copies[id(buffer)]

        return copy

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Torch's process-wide switches, set for a while.

        The default dtype; TF32 off; fused attention off, which has no forward-mode derivative; and
        what torch.compile has made gives way to what it was made of.
        """
        dtype = torch.get_default_dtype()
        matmul = torch.get_float32_matmul_precision()
        convolutions = torch.backends.cudnn.allow_tf32
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        try:
            with sdpa_kernel(SDPBackend.MATH), _compiled_code_left_alone():
                yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_float32_matmul_precision(matmul)
            torch.backends.cudnn.allow_tf32 = convolutions


def _compiled_code_left_alone() -> AbstractContextManager[object]:
    """Run the modules and functions inside compiled ones: nothing can be suspended in a kernel."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing it takes a second
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def arithmetic_for(model: nn.Module, precision: str, device: torch.device) -> Arithmetic:
    """The arithmetic for a precision, never narrower than one of the model's parameters.

    Args:
        model: The model.
        precision: `float32` or `float64`.
        device: Where to compute.
    """
    wide = any(parameter.dtype == torch.float64 for parameter in model.parameters())
    exact = wide or precision == "float64"
    return Arithmetic(torch.float64 if exact else torch.float32, device)


class Uniform(TorchFunctionMode):
    """Everything narrower than a dtype becomes that dtype; on request everything wider, too."""

    def __init__(self, dtype: torch.dtype, *, narrow: bool = False) -> None:
        """Bring everything to float32 or float64."""
        super().__init__()
        self._dtype = dtype
        self._dtypes = {
            d: dtype
            for d, width in _WIDTH.items()
            if width < _WIDTH[dtype] or (narrow and d != dtype)
        }
        self._replaced: dict[Any, Any] = dict(self._dtypes)
        for d in self._dtypes:
            self._replaced[_COMPLEX[d]] = _COMPLEX[dtype]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call with widened arguments."""
        if func in _GRADIENTS:
            return func(*args, **(kwargs or {}))
        if func in _CASTS:
            return self._argument(args[0]).to(self._dtype)
        # What is written into must stay the tensor it is.
        skip = 1 if writes_into_first(func) else 0
        wide = (*args[:skip], *(self._argument(a) for a in args[skip:]))
        if not kwargs:
            return func(*wide)
        named = {k: v if k == "out" else self._argument(v) for k, v in kwargs.items()}
        return func(*wide, **named)

    def _argument(self, value: Any) -> Any:
        kind = type(value)
        if kind is torch.dtype:
            return self._replaced.get(value, value)
        if kind is Tensor or kind is nn.Parameter:
            return value.to(self._dtypes[value.dtype]) if value.dtype in self._dtypes else value
        if kind is list or kind is tuple:
            return kind(self._argument(item) for item in value)
        return value


def writes_into_first(func: Any) -> bool:
    """Whether a torch function changes its first argument in place."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name == "__setitem__" or (name.startswith("__i") and name not in _NOT_IN_PLACE)
    return name.endswith("_")


_NOT_IN_PLACE = frozenset({"__invert__", "__index__", "__int__", "__iter__", "__init__"})
