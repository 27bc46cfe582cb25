"""A measurement leaves the model as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_linearity.run.analysis import Analysis
from tests.support.configs import small_config


def digest(model: Any) -> str:
    """A hash of every bit of a model's parameters and buffers."""
    state = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        state.update(f"{name} {tensor.dtype} {tensor.requires_grad}".encode())
        state.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def test_the_model_is_bit_for_bit_what_it_was(tiny_checkpoint: Path) -> None:
    analysis = Analysis(small_config(tiny_checkpoint, radii=(0.1, 30.0)))
    before = digest(analysis.subject.checkpoint.model)
    assert not analysis.report.passed
    assert digest(analysis.subject.checkpoint.model) == before


def test_the_model_is_what_it_was_after_an_interruption(tiny_checkpoint: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    analysis = Analysis(small_config(tiny_checkpoint), progress=interrupt)
    before = digest(analysis.subject.checkpoint.model)
    with pytest.raises(KeyboardInterrupt):
        _ = analysis.measurement
    assert digest(analysis.subject.checkpoint.model) == before
