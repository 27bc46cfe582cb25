"""The dtypes of a loaded model's weights: tensor by tensor those of the files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_linearity.checkpoint.headers import Header, refuse_dtype
from pytest_linearity.checkpoint.weights import pieces
from pytest_linearity.checkpoint.wrappers import rename

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    State = Mapping[str, Tensor]

_COMPUTED = r"rotary_emb\.inv_freq"
"""What old checkpoints hold and transformers computes."""


def keep_stored(
    directory: Path,
    model: PreTrainedModel,
    headers: Sequence[Header],
    patterns: dict[str, str],
) -> bool:
    """Give the weights that were rounded when they were loaded the values of their files.

    Models are loaded in one dtype, that of most bytes. What the files hold in a wider one is
    mapped from them again, without a copy.

    Args:
        directory: The checkpoint, for messages.
        model: Changed in place; no values change that were not rounded.
        headers: What its files hold.
        patterns: What has been taken off their names; see `without_wrappers`.

    Returns:
        Whether every weight now has the value of its file. It has not where a rounded tensor
        became part of another, as experts do that are stacked.

    Raises:
        CheckpointError: If a parameter is stored as integers, or in 8 bits.
    """
    state = model.state_dict(keep_vars=True)
    owners = owners_of(model, headers, patterns)
    _refuse_integers(directory, model, headers, owners)
    own = {id(state[owner]) for owner in owners.values()}
    free = {name: tensor for name, tensor in state.items() if id(tensor) not in own}
    ignored = [_COMPUTED, *(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ())]

    def may_be_rounded(header: Header) -> bool:
        if header.name in owners:
            return _is_narrower(state[owners[header.name]], header)
        if any(re.search(pattern, header.name) for pattern in ignored):
            return False
        return any(_is_narrower(tensor, header) for tensor in free.values())

    whole = True
    suspects = [header for header in headers if header.trainable and may_be_rounded(header)]
    for path in sorted({header.path for header in suspects}):
        tensors = _tensors(path, [header.name for header in suspects if header.path == path])
        for name, tensor in tensors.items():
            owner = owners.get(name) or _of_same_values(tensor, free)
            if owner is not None and _is_rounded(tensor, state[owner]):
                state[owner].data = tensor
            else:
                whole = False
    return whole


def _refuse_integers(
    directory: Path,
    model: PreTrainedModel,
    headers: Iterable[Header],
    owners: Mapping[str, str],
) -> None:
    """Refuse parameters that are stored as integers, whatever their names end with."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for header in headers:
        if not header.trainable and owners.get(header.name) in parameters:
            refuse_dtype(directory, header)


def widest(headers: Iterable[Header]) -> torch.dtype:
    """The narrowest dtype that holds the values of all weights."""
    import torch

    stored = [torch_dtype(header.dtype) for header in headers if header.trainable]
    return reduce(torch.promote_types, stored, stored[0])


def parameters_by_dtype(
    model: PreTrainedModel, headers: Iterable[Header], patterns: dict[str, str]
) -> dict[str, int]:
    """How many parameters have which dtype in the files, most first; a tied one counts once.

    A parameter that is made of several tensors has the dtype that it was loaded in.
    """
    state = model.state_dict(keep_vars=True)
    headers = list(headers)
    owners = owners_of(model, headers, patterns)
    stored = {id(state[owners[h.name]]): h.dtype for h in headers if h.name in owners}
    counts: Counter[str] = Counter()
    for parameter in model.parameters():
        loaded = str(parameter.dtype).removeprefix("torch.")
        counts[stored.get(id(parameter), loaded)] += parameter.numel()
    return dict(counts.most_common())


def owners_of(
    model: PreTrainedModel, headers: Iterable[Header], patterns: dict[str, str]
) -> dict[str, str]:
    """By a tensor's name in the files that in the model, where name and shape agree."""
    state, prefix = model.state_dict(keep_vars=True), f"{model.base_model_prefix}."
    owners = {}
    for header in headers:
        name = rename(header.name, patterns)
        for candidate in (name, prefix + name, name.removeprefix(prefix)):
            if candidate in state and tuple(state[candidate].shape) == header.shape:
                owners[header.name] = candidate
                break
    return owners


def _is_narrower(loaded: Tensor, header: Header) -> bool:
    """Whether a tensor of the files loses digits in the dtype that one was loaded in."""
    import torch

    return (
        loaded.is_floating_point()
        and torch.promote_types(torch_dtype(header.dtype), loaded.dtype) != loaded.dtype
    )


def _of_same_values(tensor: Tensor, free: State) -> str | None:
    """The one weight of another name that has a tensor's values, rounded, if there is one."""
    same = [name for name, loaded in free.items() if _is_rounded(tensor, loaded)]
    return same[0] if len(same) == 1 else None


def _is_rounded(tensor: Tensor, loaded: Tensor) -> bool:
    """Whether loaded values are those of a file, rounded to the loaded dtype."""
    import torch

    if tensor.shape != loaded.shape:
        return False
    pairs = zip(pieces(tensor), pieces(loaded.detach()), strict=True)
    return all(torch.equal(exact.to(rounded.dtype), rounded) for exact, rounded in pairs)


def _tensors(path: Path, names: Iterable[str]) -> dict[str, Tensor]:
    """Some of a file's tensors, mapped into memory where the file's format allows it."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    import torch

    with path.open("rb") as start:
        zipped = start.read(2) == b"PK"
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    return {name: state[name].detach() for name in names}


def torch_dtype(name: str) -> torch.dtype:
    """The dtype that torch knows by a name, as `bfloat16`."""
    import torch

    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype
