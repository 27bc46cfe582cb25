"""The literal method: parameters moved in place, the model run alone, differences for Jδ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pytest_linearity import Directions

TOLERANCE = {"rtol": 1e-7, "atol": 1e-10}
"""Differences of fourth order at steps of 1e-3 leave 1e-11 of Jδ, and ε is some hundredths."""


def relative_error(
    model: nn.Module, run: Callable[[], Tensor], directions: Directions, radii: Sequence[float]
) -> Tensor:
    """ε, float64 Tensor [radii, directions, prompts], of a model in float64.

    Buffers are put back after every forward; what else a forward leaves behind must not matter.
    """
    parameters = dict(model.named_parameters())
    kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]

    @torch.no_grad()
    def at(k: int, step: float) -> Tensor:
        for name in directions.names:
            parameters[name] += step * directions.tensor(k, name).to(parameters[name].dtype)
        try:
            return run().detach().clone()
        finally:
            for name in directions.names:
                parameters[name].copy_(kept[name])
            for buffer, value in buffers:
                buffer.detach().copy_(value)

    def slope(k: int, h: float) -> Tensor:
        return (at(k, h) - at(k, -h)) / (2 * h)

    def error(k: int, radius: float) -> Tensor:
        change = at(k, radius) - at(k, 0.0)
        derivative = (4 * slope(k, 5e-4) - slope(k, 1e-3)) / 3
        return (change - radius * derivative).norm(dim=-1) / change.norm(dim=-1)

    return torch.stack([torch.stack([error(k, r) for k in range(directions.count)]) for r in radii])
