"""An optimizer's moments as two safetensors files, which any training loop can write.

`exp_avg.safetensors` and `exp_avg_sq.safetensors` lie in one directory and hold a tensor for every
parameter, under its name in the model. The metadata of the first says the rest: `step`, and where
they are not torch's defaults `beta1`, `beta2`, `eps`, `weight_decay`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pytest_linearity.checkpoint.optimizer.state import AdamMoments, AdamSettings, OptimizerState
from pytest_linearity.errors import CheckpointError, one_line, shown

FIRST = "exp_avg.safetensors"
"""File of the first moments."""
SECOND = "exp_avg_sq.safetensors"
"""File of the second moments."""

_DEFAULTS = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}


def read_safetensors_state(directory: Path, model: nn.Module) -> OptimizerState:
    """Read a state, mapped into memory.

    Args:
        directory: Holds both files.
        model: The model that it has optimised. Weights decay as trainers have it: those of two or
            more dimensions do, biases and norms do not.

    Raises:
        CheckpointError: If a file cannot be read, or does not fit the model or the other.
    """
    first, facts = _tensors(directory / FIRST)
    second, _ = _tensors(directory / SECOND)
    step, settings = _facts(directory / FIRST, facts)
    moments = {}
    for name, parameter in model.named_parameters():
        both = [
            _of(directory / file, tensors, name, parameter)
            for file, tensors in ((FIRST, first), (SECOND, second))
        ]
        decays = settings["weight_decay"] if parameter.dim() >= 2 else 0.0
        own = AdamSettings(**{**settings, "weight_decay": decays}, decoupled=True)
        moments[name] = AdamMoments(both[0], both[1], step, own)
    return OptimizerState(moments)


def _tensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    from safetensors import safe_open

    if not path.is_file():
        raise CheckpointError(
            f"{path}: there is no such file; a state of an optimizer is an optimizer.pt, or "
            f"{FIRST} and {SECOND} in one directory"
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except Exception as error:  # safetensors and the system's errors have no common base
        raise CheckpointError(f"{path}: cannot be read as safetensors: {one_line(error)}") from None


def _facts(path: Path, facts: Mapping[str, str]) -> tuple[int, dict[str, float]]:
    if "step" not in facts:
        raise CheckpointError(
            f"{path}: its metadata lacks step, the number of steps that the moments have seen, as "
            "{'step': '500'}"
        )
    numbers = {}
    for key, default in {"step": 0.0, **_DEFAULTS}.items():
        try:
            numbers[key] = float(facts.get(key, default))
        except ValueError:
            raise CheckpointError(
                f"{path}: its metadata has {key} {shown(facts[key])}, which is no number"
            ) from None
    step = numbers.pop("step")
    right = step >= 1 and step.is_integer() and all(0 <= numbers[b] < 1 for b in ("beta1", "beta2"))
    if not right:
        raise CheckpointError(
            f"{path}: its metadata has step {facts['step']}, beta1 {numbers['beta1']:g} and beta2 "
            f"{numbers['beta2']:g}; right are a whole number of at least 1, and two in [0, 1)"
        )
    return int(step), numbers


def _of(path: Path, tensors: Mapping[str, Tensor], name: str, parameter: Tensor) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None:
        raise CheckpointError(f"{path}: lacks {name}, which the checkpoint has")
    if tensor.shape != parameter.shape or not tensor.is_floating_point():
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{path}: {name} is {dtype} {list(tensor.shape)}, but the parameter has shape "
            f"{list(parameter.shape)}, and floats are needed"
        )
    return tensor
