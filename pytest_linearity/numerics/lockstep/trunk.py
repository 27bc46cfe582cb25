"""The trunk: what runs before the first perturbed parameter, and so is the same everywhere.

The baseline records what every torch function returns until one uses a parameter in scope; all
other evaluations of the batch are told the recorded results instead of computing them. Which of
these can still matter is known exactly where the trunk ends: a tensor nobody holds any more cannot
be used later. Those are replaced by tensors without memory, so that a mistake here could only
ever be an error, never a wrong figure.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pytest_linearity.numerics.lockstep.evaluation import under_transform
from pytest_linearity.numerics.lockstep.pytree import leaves, map_leaves
from pytest_linearity.numerics.lockstep.served import is_served

InScope = Callable[[str], bool]

_GIVE_MEMORY_OUT: frozenset[Any] = frozenset(
    [
        Tensor.numpy,
        Tensor.__array__,
        Tensor.__dlpack__,
        Tensor.data_ptr,
        Tensor.storage,
        Tensor.untyped_storage,
    ]
)
"""Functions by which code that is not torch's gets at a tensor's memory."""


class TrunkMismatch(Exception):
    """An evaluation did not do what the baseline did, or changed what it shares with the others."""


class Trunk:
    """What one batch's baseline did before the first perturbed parameter."""

    def __init__(self, in_scope: InScope) -> None:
        """An empty trunk; `in_scope` tells whether directions move a parameter."""
        self.complete = False
        self.in_scope = in_scope
        self.entries: list[tuple[Any, Any]] = []
        self._given_out = False
        self._shared: list[tuple[Tensor, int]] = []

    def ends_at(self, args: Any, kwargs: Any) -> bool:
        """Whether a call uses a parameter in scope, or runs inside a transform of torch.func.

        What such a call returns is of its own evaluation's transform alone.
        """
        return under_transform() or any(
            is_served(leaf) and self.in_scope(leaf.canonical) for leaf in leaves((args, kwargs))
        )

    def record(self, func: Any, result: Any) -> None:
        """Note what a function returned."""
        self._given_out = self._given_out or func in _GIVE_MEMORY_OUT
        self.entries.append((func, map_leaves(_weaken, result)))

    def close(self) -> None:
        """Keep what is still held by somebody; forget the values of everything else."""
        kept: dict[int, Tensor] = {}

        def settle(leaf: Any) -> Any:
            if not isinstance(leaf, _Weak):
                return leaf
            tensor = leaf.reference()
            if tensor is None:
                return leaf.shadow()
            kept[id(tensor)] = tensor
            return tensor

        self.entries = [(func, map_leaves(settle, out)) for func, out in self.entries]
        self._shared = [(tensor, tensor._version) for tensor in kept.values()]
        self.complete = True

    def check(self) -> None:
        """Raises TrunkMismatch if an evaluation wrote into a tensor that all share, or may have."""
        if self._given_out:
            raise TrunkMismatch("what is written into a shared result outside of torch is not seen")
        if any(tensor._version != version for tensor, version in self._shared):
            raise TrunkMismatch("a shared result was changed in place")


class RecordTrunk(TorchFunctionMode):
    """Fills a trunk from the baseline."""

    def __init__(self, trunk: Trunk) -> None:
        """Record into `trunk`."""
        super().__init__()
        self.trunk = trunk

    @property
    def over(self) -> bool:
        """Whether the trunk is complete."""
        return self.trunk.complete

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call, and note what came of it."""
        kwargs = kwargs or {}
        if not self.over and self.trunk.ends_at(args, kwargs):
            with torch._C.DisableTorchFunction():
                self.trunk.close()
        result = func(*args, **kwargs)
        if not self.over:
            with torch._C.DisableTorchFunction():
                self.trunk.record(func, result)
        return result


class ReplayTrunk(TorchFunctionMode):
    """Tells an evaluation the recorded results, in order, then steps aside."""

    def __init__(self, trunk: Trunk) -> None:
        """Replay `trunk`, which must be complete."""
        super().__init__()
        self._trunk = trunk
        self._next = 0

    @property
    def over(self) -> bool:
        """Whether everything has been replayed and the first perturbed parameter was met."""
        return self._next > len(self._trunk.entries)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the next recorded result.

        Raises:
            TrunkMismatch: If this is not the call that was recorded.
        """
        kwargs = kwargs or {}
        if self.over:
            return func(*args, **kwargs)
        at, self._next = self._next, self._next + 1
        ends = at == len(self._trunk.entries)
        if ends:
            if not self._trunk.ends_at(args, kwargs):
                raise TrunkMismatch(f"{func} came where the baseline met a perturbed parameter")
            return func(*args, **kwargs)
        recorded, result = self._trunk.entries[at]
        if recorded != func:
            raise TrunkMismatch(f"{func} came where the baseline called {recorded}")
        return result


class _Weak:
    """A tensor that is only kept if somebody else keeps it."""

    def __init__(self, tensor: Tensor) -> None:
        self.reference = weakref.ref(tensor)
        self.size, self.strides, self.dtype = tensor.shape, tensor.stride(), tensor.dtype

    def shadow(self) -> Tensor:
        """A tensor of the same form without memory."""
        return torch.empty_strided(self.size, self.strides, dtype=self.dtype, device="meta")


def _weaken(leaf: Any) -> Any:
    return _Weak(leaf) if isinstance(leaf, Tensor) and not is_served(leaf) else leaf
