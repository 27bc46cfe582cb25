"""An optimizer's state as `torch.save` writes it: the `optimizer.pt` of transformers' trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pytest_linearity.checkpoint.optimizer.naming import Unmatched, names_of_groups
from pytest_linearity.checkpoint.optimizer.state import AdamMoments, AdamSettings, OptimizerState
from pytest_linearity.errors import CheckpointError, one_line, shown

_OTHERS = {
    "exp_avg_sq_row": "Adafactor",
    "momentum_buffer": "SGD with momentum, or Muon",
    "state1": "an 8-bit optimizer",
    "qmap1": "an 8-bit optimizer",
    "sum": "Adagrad",
    "square_avg": "RMSprop",
}
"""Whose state it is that has such an entry."""


def read_torch_state(path: Path, model: nn.Module) -> OptimizerState:
    """Read a state, weights only, mapped into memory.

    Args:
        path: The file.
        model: The model that it has optimised.

    Raises:
        CheckpointError: If it cannot be read, is of another model or another optimizer than Adam
            and AdamW, or does not tell which parameter is which.
    """
    document = _loaded(path)
    state, groups = document["state"], document["param_groups"]
    members = [_members(path, state, group) for group in groups]
    shapes = [[tuple(entry["exp_avg"].shape) for entry in group] for group in members]
    try:
        names = names_of_groups(model, shapes)
    except Unmatched as error:
        raise CheckpointError(f"{path}: {error}") from None
    moments = {}
    for group, entries, group_names in zip(groups, members, names, strict=True):
        settings = _settings(path, group)
        for name, entry in zip(group_names, entries, strict=True):
            moments[name] = _moments(path, name, entry, settings, bool(group.get("amsgrad")))
    return OptimizerState(moments)


def _loaded(path: Path) -> dict[str, Any]:
    try:
        document = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # unpickling raises anything
        raise CheckpointError(
            f"{path}: cannot be read as the state of an optimizer: {one_line(error)}"
        ) from None
    if (
        not isinstance(document, dict)
        or not isinstance(document.get("state"), dict)
        or not isinstance(document.get("param_groups"), list)
        or not all(isinstance(group, dict) for group in document["param_groups"])
    ):
        raise CheckpointError(
            f"{path}: is no state of an optimizer: it lacks `state` and `param_groups`, which "
            "torch.optim's state_dict has"
        )
    return document


def _members(path: Path, state: Mapping[Any, Any], group: Mapping[str, Any]) -> list[Any]:
    """The entries of a group's parameters, all of which must be those of Adam."""
    keys: Sequence[Any] = group.get("params") or ()
    entries = []
    for key in keys:
        entry = state.get(key)
        if not isinstance(entry, dict):
            raise CheckpointError(
                f"{path}: has no state for parameter {shown(key)}: save it after a step, and with "
                "no parameter frozen"
            )
        other = next((name for mark, name in _OTHERS.items() if mark in entry), None)
        if other is not None or not _is_adams(entry):
            raise CheckpointError(
                f"{path}: is the state of {other or 'another optimizer'}, whose step is not known "
                "here: Adam's and AdamW's are (train with optim: adamw_torch, or write their "
                "moments to safetensors files, see optimizer_state)"
            )
        entries.append(entry)
    return entries


def _is_adams(entry: Mapping[str, Any]) -> bool:
    first, second = entry.get("exp_avg"), entry.get("exp_avg_sq")
    return (
        isinstance(first, Tensor)
        and isinstance(second, Tensor)
        and first.shape == second.shape
        and first.is_floating_point()
        and second.is_floating_point()
        and type(first) is Tensor
    )


def _settings(path: Path, group: Mapping[str, Any]) -> AdamSettings:
    try:
        beta1, beta2 = (float(beta) for beta in group["betas"])
        settings = AdamSettings(
            beta1,
            beta2,
            float(group["eps"]),
            float(group["weight_decay"]),
            # What torch of before 2.8 saves does not say which of the two it is. The trainer's
            # is AdamW.
            decoupled=bool(group.get("decoupled_weight_decay", True)),
        )
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path}: its groups lack betas, eps and weight_decay, which Adam's have"
        ) from None
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise CheckpointError(f"{path}: betas are {[beta1, beta2]}, but must lie in [0, 1)")
    return settings


def _moments(
    path: Path, name: str, entry: Mapping[str, Any], settings: AdamSettings, amsgrad: bool
) -> AdamMoments:
    step = entry.get("step")
    count = int(step) if isinstance(step, (int, float, Tensor)) else 0
    if count < 1:
        raise CheckpointError(f"{path}: {name} has seen no step: save the state after a step")
    second = entry.get("max_exp_avg_sq") if amsgrad else entry["exp_avg_sq"]
    if not isinstance(second, Tensor):
        raise CheckpointError(f"{path}: {name} lacks max_exp_avg_sq, which AMSGrad has")
    return AdamMoments(entry["exp_avg"], second, count, settings)
