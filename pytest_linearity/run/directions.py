"""Vectors over a checkpoint's parameters that directions are made of: read, or computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pytest_linearity.numerics.directions.kinds import file_of, unreversed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.directions.given import Vector


def vectors_of(
    config: Config,
    model: PreTrainedModel,
    prompts: Callable[[], Sequence[Sequence[int]]],
    device: torch.device,
) -> dict[str, Vector]:
    """The vectors that the directions of a config are made of.

    Args:
        config: Names the kinds of directions.
        model: The checkpoint's model.
        prompts: Gives the token ids of the probes, which a gradient is taken on.
        device: Where a gradient is computed.

    Returns:
        By kind, without the minus of opposite directions; random kinds have none.

    Raises:
        LinearityError: If the base or a file cannot be used, or there is no gradient.
    """
    vectors: dict[str, Vector] = {}
    for kind in dict.fromkeys(map(unreversed, config.directions)):
        path = file_of(kind)
        if path is not None:
            from pytest_linearity.numerics.directions.vectors.file import read_direction

            vectors[kind] = read_direction(kind, config.locate(path.strip()), model)
        elif kind == "update":
            from pytest_linearity.checkpoint.load import load_base
            from pytest_linearity.numerics.directions.vectors.update import Update

            base = config.base_model_name_or_path
            assert base is not None
            vectors[kind] = Update(model, load_base(config), base)
        elif kind == "gradient":
            from pytest_linearity.numerics.scope.match import parameters_in_scope
            from pytest_linearity.numerics.scope.parse import parse_scope
            from pytest_linearity.probes.gradient import loss_gradient

            names = parameters_in_scope(model, parse_scope(config.scope))
            vectors[kind] = loss_gradient(model, prompts(), names, device)
    return vectors
