"""What is planned for: a model known by its config, and by its files' headers if it has files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pytest_linearity.checkpoint.architecture import check_architecture
from pytest_linearity.checkpoint.declared import declared_config
from pytest_linearity.checkpoint.files import check_files
from pytest_linearity.checkpoint.headers import Stored, check_dtypes, read_headers
from pytest_linearity.checkpoint.load import config_directory
from pytest_linearity.errors import CheckpointError, one_line, pass_on_foreign
from pytest_linearity.plan.skeleton import skeleton

if TYPE_CHECKING:
    from torch import nn

    from pytest_linearity.config.config import Config


@dataclass(frozen=True)
class PlannedModel:
    """A model without its weights."""

    place: Path
    """The checkpoint's directory; or its `config.json` alone."""
    declared: Any
    """Its config, as transformers reads it."""
    model: nn.Module
    """Its skeleton."""
    stored: Stored
    """Its weights on disk, or as they would be there."""
    at_hand: bool
    """Whether they are there."""

    @property
    def parameters(self) -> int:
        """How many parameters, a tied one counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def planned_model(config: Config) -> PlannedModel:
    """The model of a run's config; `model_name_or_path` may be a `config.json` alone.

    Raises:
        CheckpointError: If there is no such model, it cannot be measured, or its files are cut.
    """
    place = config.locate(config.checkpoint)
    if place is None or not place.is_file():
        place = config_directory(config)
        if not (place / "config.json").is_file():
            raise CheckpointError(f"{place}: has no config.json, which a plan is made from")
    check_architecture(place, trust_remote_code=config.trust_remote_code)
    at_hand = place.is_dir() and any(
        path for kind in ("*.safetensors", "*.bin") for path in place.glob(kind)
    )
    if at_hand:
        check_dtypes(place, check_files(place))
    stored = read_headers(place) if at_hand else None
    try:
        declared = declared_config(place, trust_remote_code=config.trust_remote_code)
        model = skeleton(declared, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # whatever the model's code raises
        pass_on_foreign(error)
        raise CheckpointError(f"{place}: gives no model: {one_line(error)}") from error
    return PlannedModel(place, declared, model, stored or _as_declared(declared, model), at_hand)


def _as_declared(declared: Any, model: nn.Module) -> Stored:
    """What a checkpoint of this config would take, in the dtype that it says."""
    dtype = getattr(declared, "dtype", None)
    name = str(dtype or "float32").removeprefix("torch.")
    of_torch = getattr(torch, name, None)
    size = of_torch.itemsize if isinstance(of_torch, torch.dtype) else 4
    return Stored(sum(p.numel() for p in model.parameters()) * size, name)
