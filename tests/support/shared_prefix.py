"""Prompts that begin alike, and a model measured with and without their prefix shared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pytest_linearity import Directions
from pytest_linearity.numerics.measurement.jobs import Alone, Engine
from pytest_linearity.numerics.measurement.layers import LayerTaps
from pytest_linearity.numerics.measurement.measure import measure_with
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.numerics.measurement.setup import Setup
from pytest_linearity.probes.batches import make_batches
from pytest_linearity.probes.logits import LastTokenLogits, last_token_logits
from pytest_linearity.probes.shared_prefix import Sharing, share
from pytest_linearity.run.subject import small_part
from tests.conformance.sizes import VOCABULARY

CPU = torch.device("cpu")
RADII = (0.1, 1.0)
PREFIX = 9
REST = (3, 7, 5)

SYSTEM = "You answer with one number and nothing else."
QUESTIONS = ("What is 2 plus 2?", "What is 3 times 5?", "How many legs has a spider?", "Six?")


def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)

    def some(count: int) -> list[int]:
        return torch.randint(5, VOCABULARY, (count,), generator=generator).tolist()

    first = some(PREFIX)
    return [first + some(count) for count in REST]


@dataclass(frozen=True)
class Case:
    """A model, and two batches of prompts; the longer has padding."""

    model: nn.Module
    runs: Sequence[LastTokenLogits]
    small: LastTokenLogits
    sharing: Sharing

    def measure(
        self,
        *,
        shared: bool,
        scope: str = "full",
        engine: Engine | None = None,
        taps: LayerTaps | None = None,
        second_order: bool = False,
    ) -> Measurement:
        directions = Directions(self.model, 2, scope=scope)
        batches = self.sharing.batches if shared else self.runs
        small = self.sharing.calibration if shared else self.small
        setup = Setup(
            self.model,
            batches,
            directions,
            CPU,
            "float64",
            calibration=small,
            taps=taps,
            engine=engine or Alone(),
        )
        return measure_with(setup, RADII, second_order=second_order)


def case(model: nn.Module, size: int = 2) -> Case:
    batches = make_batches(prompts(), size=size, pad_id=0)
    runs = [last_token_logits(model, batch, CPU) for batch in batches]
    small = last_token_logits(model, small_part(batches[0]), CPU)
    return Case(model, runs, small, share(runs, small, prompts()))


def same(ours: Measurement, theirs: Measurement) -> None:
    for name in ("relative_error", "cosine_similarity"):
        torch.testing.assert_close(
            getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-10
        )
    assert ours.routing_flips == theirs.routing_flips


def questions(directory: Path) -> dict[str, object]:
    """Keys of a config: questions in the tokenizer's chat template, after one system message."""
    path = directory / "questions.json"
    path.write_text(json.dumps([{"instruction": q, "output": ""} for q in QUESTIONS]))
    return {
        "dataset": [str(path)],
        "default_system": SYSTEM,
        "prompts": None,
        "radii": [0.01, 0.1],
    }
