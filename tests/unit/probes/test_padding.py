"""Padding: invisible to a causal model, and what becomes of architectures that look at it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Config, Directions
from pytest_linearity.errors import MeasurementError
from pytest_linearity.probes.batches import Batch
from pytest_linearity.probes.logits import last_token_logits
from pytest_linearity.probes.padding import sees_padding
from pytest_linearity.run.analysis import Analysis
from tests.support.checkpoints import tiny_llama

CPU = torch.device("cpu")
PROMPTS = ("What is 2 plus 2?", "Hi", "Yo", "A longer prompt with rather more words than others.")


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    checkpoint = tiny_llama(tmp_path_factory.mktemp("checkpoint") / "tiny")
    return Analysis(
        Config(model_name_or_path=str(checkpoint), prompts=PROMPTS, num_directions=1, radii=(1.0,))
    )


def test_a_prompt_in_a_padded_batch_has_the_logits_it_has_alone(analysis: Analysis) -> None:
    model = analysis.subject.checkpoint.model
    (batch,) = analysis.subject.probes.batches
    assert not batch.attention_mask.all()
    with torch.no_grad():
        together = last_token_logits(model, batch)()
        for row, logits in zip(batch.rows, together, strict=True):
            ids = torch.tensor([analysis.subject.probes.probes[row].token_ids])
            alone = model(input_ids=ids, use_cache=False).logits[0, -1]
            # Other shapes of the same float32 products.
            torch.testing.assert_close(logits, alone, rtol=1e-5, atol=1e-5)


def test_a_llama_does_not_see_padding(analysis: Analysis) -> None:
    assert analysis.subject.batches is analysis.subject.probes.batches
    assert analysis.report.environment["padded_batches"] is True


class Looks(nn.Module):
    """A language model that counts from the end of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 50)

    def forward(self, input_ids: Tensor) -> tuple[Tensor]:
        x = self.embed(input_ids)
        return (self.head(x + x.mean(dim=1, keepdim=True)),)


def prompt() -> Batch:
    ids = torch.tensor([[5, 6, 7]])
    return Batch(ids, torch.ones_like(ids), torch.tensor([2]), (0,))


def test_one_that_looks_at_padding_is_found_out() -> None:
    model = Looks()
    assert sees_padding(model, prompt(), 0, Directions(model, 1), CPU)


def test_its_prompts_share_a_batch_only_with_those_of_their_length(
    analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_linearity.run.subject.sees_padding", lambda *_: True)
    again = Analysis(analysis.config)
    assert [len(batch.rows) for batch in again.subject.batches] == [2, 1, 1]
    assert all(batch.attention_mask.all() for batch in again.subject.batches)
    assert again.report.environment["padded_batches"] is False
    # Padding and shapes change the rounding only.
    torch.testing.assert_close(
        again.measurement.relative_error, analysis.measurement.relative_error, rtol=1e-2, atol=1e-4
    )


def test_a_model_that_cannot_run_on_token_ids_is_told_in_one_line(
    analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(**_: object) -> None:
        raise ValueError("`pixel_values` are needed\nand more")

    again = Analysis(analysis.config)
    monkeypatch.setattr(again.subject.checkpoint.model, "forward", forward)
    message = (
        "LlamaForCausalLM cannot be evaluated on these prompts: ValueError: `pixel_values` are"
    )
    with pytest.raises(MeasurementError, match=message):
        _ = again.measurement
