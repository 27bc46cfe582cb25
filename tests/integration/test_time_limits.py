"""A time limit that is reached while something is read or measured is not the thing's fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, analyze, measure
from tests.support.configs import small_config
from tests.support.strikes import strike, time_limit


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    with time_limit():
        yield


@pytest.mark.parametrize(
    "reading",
    [
        "safetensors.safe_open",
        "transformers.AutoConfig.from_pretrained",
        "transformers.AutoTokenizer.from_pretrained",
        "transformers.AutoModelForCausalLM.from_pretrained",
        "pytest_linearity.run.subject.load_probes",
        "pytest_linearity.run.analysis.ScopedDirections",
    ],
)
def test_reading_a_checkpoint(
    reading: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, strike)
    with pytest.raises(TimeoutError, match="took too long"):
        analyze(small_config(tiny_checkpoint))


def test_reading_a_data_set(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.csv").write_text("instruction,output\n1+1=,2\n")
    monkeypatch.setattr("datasets.load_dataset", strike)
    config = small_config(tiny_checkpoint, prompts=None, dataset=[str(tmp_path / "rows.csv")])
    with pytest.raises(TimeoutError, match="took too long"):
        analyze(config)


class _Counter:
    """Strikes at one of its calls, by its number."""

    def __init__(self, at: int) -> None:
        self.calls = 0
        self._at = at

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self._at:
            strike()


class Striking(nn.Module):
    """A model of which one forward, by its number, reaches the limit."""

    def __init__(self, at: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 4)
        # Not an attribute of the module: those are put back after each forward.
        self.count = _Counter(at)

    def forward(self) -> Tensor:
        self.count()
        return torch.tanh(self.layer(torch.ones(2, 3)))


def test_every_forward_of_a_measurement() -> None:
    """None is taken for a forward that has no derivative, or shares too much."""
    whole = Striking(0)
    expected = measure(whole, whole, Directions(whole, 2), [0.1])
    assert expected.jvp_method == "forward-mode"
    assert whole.count.calls > 4
    for at in range(1, whole.count.calls + 1):
        model = Striking(at)
        with pytest.raises(TimeoutError, match="took too long"):
            measure(model, model, Directions(model, 2), [0.1])
