"""The files of a checkpoint, looked at before anything is loaded from them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import CheckpointError, one_line, pass_on_foreign

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def check_files(directory: Path) -> Path:
    """Refuse a directory that holds no whole checkpoint.

    Returns:
        The file that the weights are in, or the first of several.

    Raises:
        CheckpointError: If it is an adapter, has no config or no weights, or a file of weights is
            missing, cut or corrupt.
    """
    _refuse_adapter(directory)
    if not (directory / "config.json").is_file():
        raise CheckpointError(f"{directory}: has no config.json{_checkpoints_within(directory)}")
    read_json(directory / "config.json")
    for name in _WEIGHTS:
        if (directory / name).is_file():
            tensor_names(directory / name)
            return directory / name
        index = directory / f"{name}.index.json"
        if index.is_file():
            return _check_shards(index)
    raise CheckpointError(
        f"{directory}: has no weights: model.safetensors, or its shards with "
        f"model.safetensors.index.json, are needed{_checkpoints_within(directory)}"
    )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file of a checkpoint holds.

    Raises:
        CheckpointError: If it cannot be read, or holds something else.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not readable JSON: {one_line(error)}") from None
    if not isinstance(document, dict):
        raise CheckpointError(f"{path}: holds no JSON object, but one is needed")
    return document


def tensor_names(path: Path) -> set[str]:
    """The names of the tensors in a file of weights, which proves that it is whole.

    Pickles are read by torch's weights-only loader, which runs no code, and without their data.

    Raises:
        CheckpointError: If the file is cut, corrupt, or holds more than tensors.
    """
    if _is_pointer(path):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the weights: run git lfs pull")
    try:
        return _safetensors_names(path) if path.suffix == ".safetensors" else _pickled_names(path)
    except Exception as error:  # safetensors, pickle, zip and torch errors have no common base
        pass_on_foreign(error)
        raise CheckpointError(f"{path}: {_problem(error)}") from None


def _problem(error: Exception) -> str:
    """Why a file of weights was not read."""
    said = one_line(error).removeprefix("Error while deserializing header: ")
    if "weights_only" in str(error):  # torch's refusal, of which the rest is about turning it off
        if "global" in str(error).lower():
            return "holds more than tensors, and pickled code is never run: save safetensors"
        said = "no pickle of tensors"
    return f"is cut or corrupt ({said}): copy or save it again"


def _safetensors_names(path: Path) -> set[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def _pickled_names(path: Path) -> set[str]:
    import torch

    state = torch.load(path, map_location="meta", weights_only=True)
    if not isinstance(state, dict) or not all(torch.is_tensor(t) for t in state.values()):
        raise ValueError("it is not a mapping of names to tensors")
    return set(state)


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(42) == b"version https://git-lfs.github.com/spec/v1"


def _check_shards(index: Path) -> Path:
    """Refuse shards that are missing, cut, or lack tensors that the index says are in them."""
    placed: Any = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise CheckpointError(f"{index}: has no weight_map, which says which shard a tensor is in")
    for name, shard in placed.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise CheckpointError(f"{index}: {name}: {shard!r} is not the name of a file beside it")
    shards: list[Path] = [index.parent / shard for shard in sorted(set(placed.values()))]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise CheckpointError(f"{index.parent}: shards are missing: {', '.join(missing)}")
    for shard in shards:
        named = {name for name, holder in placed.items() if holder == shard.name}
        lacking = sorted(named - tensor_names(shard))
        if lacking:
            raise CheckpointError(
                f"{shard}: lacks {lacking[0]}, which {index.name} says is in it"
                + (f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else "")
            )
    return shards[0]


def _refuse_adapter(directory: Path) -> None:
    path = directory / "adapter_config.json"
    if path.is_file():
        base = read_json(path).get("base_model_name_or_path") or "its base model"
        raise CheckpointError(
            f"{directory}: is an adapter, not a full checkpoint: merge it into {base} first"
        )


def _checkpoints_within(directory: Path) -> str:
    """Names the checkpoints that a training output holds, for a message."""
    steps = sorted(
        (child.name for child in directory.glob("checkpoint-*") if child.is_dir()),
        key=lambda name: (len(name), name),  # checkpoint-500 before checkpoint-1000
    )
    return f"; give one of the checkpoints in it: {', '.join(steps)}" if steps else ""


def training_step(config: Config) -> int | None:
    """The training step of a checkpoint, from its trainer's state or else from its name.

    Returns:
        ``None`` where neither says it.
    """
    directory = config.locate(config.checkpoint)
    if directory is not None:
        try:
            state = json.loads((directory / "trainer_state.json").read_bytes())
            step = state["global_step"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            step = None
        if isinstance(step, int) and not isinstance(step, bool) and step >= 0:
            return step
    return trailing_step(Path(config.checkpoint).name)


def trailing_step(name: str) -> int | None:
    """The training step that the name of a checkpoint ends with, as in ``checkpoint-500``."""
    trailing = re.search(r"\d+$", name, re.ASCII)
    return int(trailing.group()) if trailing else None
