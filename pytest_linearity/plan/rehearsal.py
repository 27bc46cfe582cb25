"""A forward without products: everything else runs, on tensors of the real shapes.

Linear layers and embeddings return what happens to lie in memory, so nothing is read of a
checkpoint; norms, attention and activations take the time and the memory that they take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import log2
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from pytest_linearity.numerics.lockstep.dual import make_dual
from pytest_linearity.numerics.lockstep.pytree import map_leaves


@dataclass(frozen=True)
class Use:
    """One use of a linear layer in a forward."""

    name: str
    """Canonical name of its matrix."""
    rows: int
    """Rows of its input."""
    inputs: int
    """Features of its input."""
    outputs: int
    """Features of its output."""
    held: Counter[int]
    """Bytes that the forward holds here, its input included, by the size of the blocks as a power
    of two; none where nobody counts."""
    until: int
    """Largest number of bytes it has held since the use before."""


@dataclass
class Rehearsal(TorchFunctionMode):
    """Stands in for products and looked-up rows, and notes them."""

    model: nn.Module
    """A skeleton."""
    dual: bool
    """Whether every product is a dual number."""
    memory: Memory | None = None
    """Counts what is held."""
    blank: frozenset[int] = frozenset()
    """Uses whose outputs are NaN but in the last row, to see whether the others matter."""
    reused: dict[Any, Tensor] | None = None
    """Outputs by shape, where each is to be made once only."""
    uses: list[Use] = field(default_factory=list)
    """In the order of the forward."""
    looked_up: str | None = None
    """The embedding that token ids were looked up in; None where none was."""

    def __post_init__(self) -> None:
        """Know the parameters by name."""
        super().__init__()
        self._names = {id(p): name for name, p in self.model.named_parameters()}
        self._slices: dict[int, tuple[Tensor, str]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call, or return something of the right shape."""
        kwargs = kwargs or {}
        if func is nn.functional.linear and _absent(args[1]):
            return self._product(*args, **kwargs)
        if func is nn.functional.embedding and _absent(args[1]):
            self.looked_up = self.looked_up or self._name(args[1])
            return self._made((*args[0].shape, args[1].shape[-1]), args[0].device)
        if func is Tensor.__getitem__ and _absent(args[0]):
            part: Tensor = func(*args)
            self._slices[id(part)] = part, self._name(args[0])
            return part
        if not any(map(_absent, args)):
            return func(*args, **kwargs)
        return func(*map_leaves(self._present, args), **kwargs)

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows, (outputs, inputs) = x.numel() // x.shape[-1], weight.shape
        held, until = self.memory.look() if self.memory else (Counter(), 0)
        place = len(self.uses)
        self.uses.append(Use(self._name(weight), rows, inputs, outputs, held, until))
        output = self._made((*x.shape[:-1], outputs), x.device)
        if self.blank:
            # Whatever is NaN in a row of the input is so in the row of the output.
            output = output + 0 * x.sum(-1, keepdim=True)
            if place in self.blank:
                output[..., :-1, :] = torch.nan
        return output

    def _made(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        output = self._room(shape, device, 0)
        return make_dual(output, self._room(shape, device, 1)) if self.dual else output

    def _room(self, shape: tuple[int, ...], device: torch.device, which: int) -> Tensor:
        if self.reused is None:
            # A JVP's primal is the baseline's, and so is nothing that it holds itself.
            with self._uncounted(self.dual and not which):
                return torch.full(shape, 0.5, device=device)
        key = (shape, which)
        if key not in self.reused:
            self.reused[key] = torch.randn(shape, device=device)
        return self.reused[key]

    def _uncounted(self, really: bool) -> AbstractContextManager[object]:
        return _disable_current_modes() if really and self.memory else nullcontext()

    def _present(self, leaf: Any) -> Any:
        """Something in place of a parameter without memory."""
        if not _absent(leaf):
            return leaf
        device = next((b.device for b in self.model.buffers()), torch.device("cpu"))
        return torch.full((1,), 0.01, device=device).expand(leaf.shape)

    def _name(self, weight: Tensor) -> str:
        part = self._slices.get(id(weight))
        return part[1] if part else self._names.get(id(weight), "")


class Memory(TorchDispatchMode):
    """Counts the bytes of what a forward has made and still holds."""

    def __init__(self) -> None:
        """A mode for one forward."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._live: dict[int, tuple[Any, int]] = {}
        self._held = self._most = 0

    def look(self) -> tuple[Counter[int], int]:
        """What is held now, by size, and the most since the last look."""
        self._count()
        held: Counter[int] = Counter()
        for _, size in self._live.values():
            held[block_size(size)] += size
        most, self._most = max(self._held, self._most), 0
        return held, most

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call, and take note of what comes out."""
        result = func(*args, **(kwargs or {}))
        map_leaves(self._note, result)
        self._count()
        self._most = max(self._most, self._held)
        return result

    def _note(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            storage = leaf.untyped_storage()
            reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            noted = self._live.get(reference.cdata)
            if noted is None or noted[0].expired():  # a freed one may have had the same address
                self._live[reference.cdata] = reference, storage.nbytes()
        return leaf

    def _count(self) -> None:
        self._live = {k: v for k, v in self._live.items() if not v[0].expired()}
        self._held = sum(size for _, size in self._live.values())


def block_size(size: int) -> int:
    """The logarithm of a number of bytes to base two, rounded."""
    return round(log2(max(1, size)))


def _absent(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "meta"
