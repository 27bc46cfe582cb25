"""Weights as other tools leave them, and the command that makes a checkpoint of them."""

from __future__ import annotations

import shlex
from pathlib import Path

_THEN = ", then copy config.json and the tokenizer to OUT"


def how_to_convert(directory: Path) -> str | None:
    """What a directory holds in place of weights, and the command that converts it.

    Returns:
        As much as a message's end, or ``None`` where nothing is known that can be converted.
    """
    return (
        _sharded_by_fsdp(directory)
        or _sharded_by_zero(directory)
        or _as_meta_saves(directory)
        or _quantised_for_inference(directory)
    )


def _sharded_by_fsdp(directory: Path) -> str | None:
    """Folders of `torch.distributed.checkpoint`, which FSDP writes through accelerate or alone."""
    folders = [directory, *sorted(child for child in directory.iterdir() if child.is_dir())]
    for folder in folders:
        if folder.name.startswith("optimizer") or not any(folder.glob("*.distcp")):
            continue
        place = "it" if folder is directory else folder.name
        path = shlex.quote(str(folder))
        if folder.name.startswith("pytorch_model_fsdp"):
            return (
                f"{place} holds the shards of FSDP: run accelerate merge-weights {path} OUT{_THEN}"
            )
        return (
            f"{place} holds a distributed checkpoint: run python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {path} OUT/pytorch_model.bin"
            f"{_THEN}"
        )
    return None


def _sharded_by_zero(directory: Path) -> str | None:
    """What DeepSpeed saves: a folder for each step, with the script that gathers it beside them."""
    steps = sorted(
        (child.name for child in directory.glob("global_step*") if child.is_dir()),
        key=lambda name: (len(name), name),
    )
    if any(directory.glob("*_optim_states.pt")):
        parent, tag = directory.absolute().parent, f" -t {shlex.quote(directory.name)}"
    elif steps:
        parent, tag = directory, f" -t {steps[-1]}" if len(steps) > 1 else ""
    else:
        return None
    script = parent / "zero_to_fp32.py"
    program = shlex.quote(str(script)) if script.is_file() else "-m deepspeed.utils.zero_to_fp32"
    what = f"{', '.join(steps)} holds" if steps else "it holds"
    return (
        f"{what} the shards of DeepSpeed ZeRO: run python {program} {shlex.quote(str(parent))} OUT"
        f"{tag} --safe_serialization{_THEN}"
    )


def _as_meta_saves(directory: Path) -> str | None:
    """The files that Llama and Mistral are handed out in by those who trained them."""
    files = sorted(path.name for path in directory.glob("consolidated*"))
    if not files:
        return None
    source, shards = shlex.quote(str(directory)), sum(name.endswith(".pth") for name in files)
    kind = "llama" if shards else "mistral"
    arguments = f"{source} OUT"
    if shards:
        arguments = f"--input_dir {source} --output_dir OUT --num_shards {shards} --llama_version 3"
    return (
        f"{files[0]} is not in the format of transformers: in a checkout of transformers run "
        f"python src/transformers/models/{kind}/convert_{kind}_weights_to_hf.py {arguments}"
    )


def _quantised_for_inference(directory: Path) -> str | None:
    files = sorted(path.name for path in directory.glob("*.gguf"))
    if not files:
        return None
    return f"{files[0]} is made for inference: take the checkpoint that it was made from"
