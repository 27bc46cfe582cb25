"""The files of a checkpoint, looked at before anything is loaded from them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.checkpoint.foreign import how_to_convert
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
    weights = _weights(directory)
    if weights is None and (directory / "adapter_config.json").is_file():
        _refuse_adapter(directory)
    if not (directory / "config.json").is_file():
        hint = _checkpoints_within(directory) or (None if weights else how_to_convert(directory))
        raise CheckpointError(f"{directory}: has no config.json{'; ' + hint if hint else ''}")
    read_json(directory / "config.json")
    if weights is None:
        hint = _checkpoints_within(directory) or how_to_convert(directory)
        raise CheckpointError(
            f"{directory}: has no weights: model.safetensors, or its shards with "
            f"model.safetensors.index.json, are needed{'; ' + hint if hint else ''}"
        )
    if weights.suffix == ".json":
        return _check_shards(weights)
    _check_single(weights)
    return weights


def peculiarities(directory: Path) -> list[str]:
    """What else lies in a directory that holds a whole checkpoint, and is not measured."""
    others = []
    weights = _weights(directory)
    if (directory / "adapter_config.json").is_file():
        others.append(
            f"{directory}: holds full weights and an adapter (adapter_config.json): the full "
            "weights are measured, without the adapter"
        )
    if weights is not None and _hides_shards(_index_beside(weights)):
        others.append(
            f"{directory}: holds {weights.name} and {_index_beside(weights).name}: "
            f"{weights.name} is measured, as transformers loads it, and the shards are not"
        )
    return others


def _weights(directory: Path) -> Path | None:
    """The file that transformers takes the weights from: the single one, or the index of shards."""
    for name in _WEIGHTS:
        for path in (directory / name, directory / f"{name}.index.json"):
            if path.is_file():
                return path
    return None


def _index_beside(weights: Path) -> Path:
    return weights.with_name(f"{weights.name}.index.json")


def _check_single(weights: Path) -> None:
    """Refuse a file that is not whole; or is not that of the shards beside it, and hides them."""
    index = _index_beside(weights)
    try:
        names = tensor_names(weights)
    except CheckpointError as error:
        if _hides_shards(index):
            raise CheckpointError(
                f"{error}; or remove it: without it the shards of {index.name} are measured"
            ) from None
        raise
    if _hides_shards(index):
        others = set(read_json(index)["weight_map"])
        if names != others:
            raise CheckpointError(
                f"{weights}: is in the way of the shards beside it: transformers reads it in place "
                f"of them, but it holds {len(names)} tensors and {index.name} lists "
                f"{len(others)}: remove the one that is stale"
            )


def _hides_shards(index: Path) -> bool:
    """Whether there are whole shards beside the single file that is read in place of them."""
    try:
        return index.is_file() and _check_shards(index).is_file()
    except CheckpointError:
        return False


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
    if not all(isinstance(name, str) for name in state):
        raise ValueError("its tensors have other names than text")
    if any(t.layout != torch.strided for t in state.values()):
        raise ValueError("its tensors are not all dense")
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
    holders: dict[str, str] = {}
    for shard in shards:
        named = {name for name, holder in placed.items() if holder == shard.name}
        present = tensor_names(shard)
        twice = sorted(present & holders.keys())
        if twice:
            raise CheckpointError(
                f"{shard}: holds {twice[0]}, which {holders[twice[0]]} holds, too: one of them is "
                "stale"
            )
        holders.update(dict.fromkeys(present, shard.name))
        lacking = sorted(named - present)
        if lacking:
            raise CheckpointError(
                f"{shard}: lacks {lacking[0]}, which {index.name} says is in it"
                + (f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else "")
            )
    return shards[0]


def _refuse_adapter(directory: Path) -> None:
    adapter = read_json(directory / "adapter_config.json")
    base = adapter.get("base_model_name_or_path") or "its base model"
    raise CheckpointError(
        f"{directory}: is an adapter, not a full checkpoint: merge it into {base} first"
    )


def _checkpoints_within(directory: Path) -> str | None:
    """Names the checkpoints that a training output holds, for a message."""
    steps = sorted(
        (child.name for child in directory.glob("checkpoint-*") if child.is_dir()),
        key=lambda name: (len(name), name),  # checkpoint-500 before checkpoint-1000
    )
    return f"give one of the checkpoints in it: {', '.join(steps)}" if steps else None


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
