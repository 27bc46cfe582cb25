"""What must be known of a model's forward before its evaluations may share anything.

Evaluations get parameters from the engine instead of from the modules. A forward that kept a
reference to one elsewhere would not notice, and one that changes a product in place would change
it for all that share it; neither can be told from the outside, so one forward is looked over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

from pytest_linearity.numerics.lockstep.pytree import leaves
from pytest_linearity.numerics.precision import writes_into_first


class ForwardInspector(TorchFunctionMode):
    """Looks over one forward: cached parameters, linear layers changed in place, widest layer."""

    def __init__(self, model: nn.Module) -> None:
        """A mode for one forward of this model, made before its parameters are served."""
        super().__init__()
        self.cached: str | None = None
        """Name of a parameter whose memory was read past its module; None if there is none."""
        self.changes_products = False
        """Whether the output of a linear layer is changed in place."""
        self._linears: set[tuple[int, int]] = set()
        self._spans = sorted(
            (parameter.data_ptr(), parameter.data_ptr() + parameter.nbytes, name)
            for name, parameter in model.named_parameters()
            if parameter.nbytes
        )
        self._starts = [span[0] for span in self._spans]
        self._products: dict[int, StorageWeakRef] = {}

    @property
    def widest(self) -> int:
        """Inputs plus outputs of the widest linear layer, in features per token.

        The vocabulary head sees last tokens only, and counts for as little.
        """
        tokens = max((rows for rows, _ in self._linears), default=1)
        return max((-(-width * rows // max(1, tokens)) for rows, width in self._linears), default=0)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call, having looked at the arguments and then at the result."""
        kwargs = kwargs or {}
        # Other modes would show us copies.
        with torch._C.DisableTorchFunction():
            self._look(func, args, kwargs)
        result = func(*args, **kwargs)
        if func is nn.functional.linear:
            with torch._C.DisableTorchFunction():
                inputs, outputs = args[0].shape[-1], result.shape[-1]
                rows = args[0].numel() // max(1, inputs)
                self._linears.add((rows, inputs + outputs))
                if _has_memory(result):
                    storage = result.untyped_storage()
                    self._products[storage.data_ptr()] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        return result

    def _look(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.cached is None:
            plain = (leaf for leaf in leaves((args, kwargs)) if _has_memory(leaf))
            self.cached = next((name for leaf in plain if (name := self._owner(leaf))), None)
        if writes_into_first(func) and args and _has_memory(args[0]):
            product = self._products.get(args[0].untyped_storage().data_ptr())
            # An expired one has freed its memory, and this is another tensor that lies there now.
            if product is not None and not product.expired():  # type: ignore[no-untyped-call]
                self.changes_products = True

    def _owner(self, tensor: Tensor) -> str | None:
        place = bisect_right(self._starts, tensor.data_ptr()) - 1
        if place >= 0 and tensor.data_ptr() < self._spans[place][1]:
            return self._spans[place][2]
        return None


def _has_memory(leaf: Any) -> bool:
    return (
        (type(leaf) is Tensor or type(leaf) is nn.Parameter)
        and leaf.layout is torch.strided
        and not torch._C._functorch.is_functorch_wrapped_tensor(leaf)
        and leaf.device.type != "meta"
        and leaf.numel() > 0
    )
