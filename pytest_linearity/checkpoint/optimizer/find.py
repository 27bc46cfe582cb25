"""Where the state of a checkpoint's optimizer is, and whether it is this checkpoint's."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from pytest_linearity.checkpoint.optimizer.safetensors_state import FIRST, read_safetensors_state
from pytest_linearity.checkpoint.optimizer.state import OptimizerState
from pytest_linearity.checkpoint.optimizer.torch_state import read_torch_state
from pytest_linearity.errors import CheckpointError

FILE = "optimizer.pt"
"""What transformers' trainer calls it."""

_WHOLE = (
    "save it whole, as optimizer.pt, or write its moments to exp_avg.safetensors and "
    "exp_avg_sq.safetensors and name their directory in optimizer_state"
)


def read_optimizer_state(place: Path, model: nn.Module, *, step: int | None) -> OptimizerState:
    """The state that lies at a place.

    Args:
        place: A checkpoint's directory, a directory of safetensors files, or an `optimizer.pt`.
        model: The checkpoint's model.
        step: The training step of the weights; None where nothing says it.

    Raises:
        CheckpointError: If there is none; if it is sharded, of another model, of another optimizer
            than Adam and AdamW, or of another step than the weights.
    """
    if not place.is_dir():
        state = read_torch_state(place, model)
    elif (place / FILE).is_file():
        state = read_torch_state(place / FILE, model)
    elif (place / FIRST).is_file():
        state = read_safetensors_state(place, model)
    else:
        raise CheckpointError(_none(place))
    if step is not None and state.step != step:
        raise CheckpointError(
            f"{place}: the optimizer has made {state.step} steps, the weights are those of step "
            f"{step}: take both from the same checkpoint"
        )
    return state


def _none(place: Path) -> str:
    """Why there is no state in a directory."""
    if any(place.glob("global_step*")) or any(place.glob("*_optim_states.pt")):
        return f"{place}: the optimizer's state is sharded by ZeRO: {_WHOLE}"
    if any(place.glob("optimizer_[0-9]*")) or (place / "optimizer.bin").exists():
        return f"{place}: the optimizer's state is sharded by FSDP: {_WHOLE}"
    return (
        f"{place}: holds no state of an optimizer: neither {FILE}, which trainers write unless "
        f"save_only_model is set, nor {FIRST}"
    )
