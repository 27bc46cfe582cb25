"""A tiny Llama and its prompts as a plan sees them; a machine on which one thing takes time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from pytest_linearity import Config
from pytest_linearity.plan.stages import Stage
from pytest_linearity.plan.workload import BatchSize, Workload

HIDDEN, MLP, VOCABULARY = 8, 12, 40
CPU = torch.device("cpu")
KEYS_VALUES = 2 * HIDDEN * HIDDEN
BLOCK = 2 * KEYS_VALUES + 3 * HIDDEN * MLP
ALL_TOKENS = BLOCK + KEYS_VALUES
"""Entries of the matrices that see every token; those of the last block but keys and values, and
of the head, see the last tokens alone."""
LAST_TOKENS = BLOCK - KEYS_VALUES + HIDDEN * VOCABULARY
LINEARS = 7 + 7 + 1

BATCHES = (BatchSize(2, 40), BatchSize(1, 34))
TOKENS, PROMPTS = 114, 3
WORKLOAD = Workload(BATCHES, prefix=0, padded=False, assumed=True)
SHARED = replace(WORKLOAD, prefix=51)
STAGE = Stage(torch.float32, directions=2, scopes=1, radii=3, derivatives=True)


def config(**keys: Any) -> Config:
    return Config(model_name_or_path="ckpt", **keys)


class Rates:
    """A machine on which everything but what is named takes no time, and that one unit each."""

    def __init__(self, costly: str) -> None:
        self._costly = costly
        self.device = CPU

    def __getattr__(self, name: str) -> Any:
        costs = name == self._costly
        if name in ("figures", "serving"):
            return lambda *_: float(costs)
        return lambda *_: 1.0 if costs else math.inf

    def forward(self, *_: object, dual: bool) -> float:
        return float(self._costly == ("dual" if dual else "plain"))
