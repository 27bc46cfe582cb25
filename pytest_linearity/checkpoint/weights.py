"""The weights of a loaded model: all there, none to spare, every one finite."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_ENTRIES_AT_ONCE = 4 * 1024 * 1024
_SHOWN = 3


def check_loaded(directory: Path, model: PreTrainedModel, loading: dict[str, Any]) -> None:
    """Refuse a model of which the files give too little or too much.

    Args:
        directory: The checkpoint, for messages.
        model: The loaded model.
        loading: What transformers says of the loading: ``missing_keys``, ``unexpected_keys``,
            ``mismatched_keys``, ``error_msgs``.

    Raises:
        CheckpointError: If a tensor is missing, and so random; left over; or of another shape.
    """
    architecture = type(model).__name__
    for mismatched in sorted(loading["mismatched_keys"])[:1]:
        name, *shapes = (mismatched,) if isinstance(mismatched, str) else mismatched
        actual = f"has shape {list(shapes[0])}" if shapes else "has another shape"
        expected = shapes[1] if shapes else model.get_parameter(name).shape  # transformers 4
        raise CheckpointError(
            f"{directory}: {name} {actual}, but {architecture} needs {list(expected)}"
        )
    missing = set(loading["missing_keys"]) & _needed(model)
    missing |= {name for name, parameter in model.named_parameters() if parameter.is_meta}
    if missing:
        raise CheckpointError(
            f"{directory}: tensors are missing, and would be random: {_some(missing)}"
        )
    if loading["unexpected_keys"]:
        raise CheckpointError(
            f"{directory}: tensors are left over that {architecture} does not use: "
            f"{_some(loading['unexpected_keys'])}"
        )
    if loading["error_msgs"]:
        raise CheckpointError(f"{directory}: cannot be loaded: {loading['error_msgs'][0]}")


def check_finite(directory: Path, model: PreTrainedModel) -> None:
    """Refuse NaN and infinite weights, reading every weight once and copying none.

    Raises:
        CheckpointError: If there are any; names the tensor.
    """
    from pytest_linearity.numerics.mapped_files import FileMaps

    maps = FileMaps.now()
    for name, tensor in model.state_dict(keep_vars=True).items():
        released = maps.released(pieces(tensor.detach()))
        if tensor.is_floating_point() and not all(map(_finite, released)):
            raise CheckpointError(f"{directory}: {name} holds weights that are NaN or infinite")


def _needed(model: PreTrainedModel) -> set[str]:
    """Names of the tensors that the files must give; of a tied one, one name is enough."""
    state = model.state_dict(keep_vars=True)
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    return set(state) - tied


def pieces(tensor: Tensor) -> Iterable[Tensor]:
    """Views of a tensor, none of them large."""
    if tensor.dim() == 0:
        return (tensor,)
    row = max(1, tensor[:1].numel())
    if row > _ENTRIES_AT_ONCE:
        return (piece for part in tensor for piece in pieces(part))
    rows = max(1, _ENTRIES_AT_ONCE // row)
    return (tensor[start : start + rows] for start in range(0, len(tensor), rows))


def _finite(piece: Tensor) -> bool:
    """Whether a small tensor is finite; its extremes are, exactly when all of it is."""
    import torch

    if piece.numel() == 0:
        return True
    if piece.dtype.itemsize == 1:  # the 8-bit formats know few operations
        piece = piece.float()
    low, high = torch.aminmax(piece)  # unlike isfinite, it needs no memory of the tensor's size
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))


def _some(names: Iterable[str]) -> str:
    """The first few of the names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more
