"""The engine against brute force on a varied sample; `make conformance` runs all architectures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version

from tests.conformance import check as checks
from tests.conformance.batches import padding, together
from tests.conformance.check import PADDING_TOLERANCE, Row, check
from tests.conformance.compare import TOLERANCE, Agreement, compare
from tests.conformance.overrides import EXCLUDED, OVERRIDES
from tests.conformance.table import page
from tests.conformance.tiny import architectures, tiny_model

SAMPLE = {
    "llama": "forward-mode",
    "gpt2": "forward-mode",  # tied, and its matrices lie transposed
    "bloom": "central-differences",  # ALiBi, and an activation without forward mode
    "mpt": "forward-mode",
    "mixtral": "forward-mode",
    "llama4_text": "forward-mode",  # experts are added in place to a linear layer's output
    "deepseek_v3": "forward-mode",  # compressed keys and values, some dense blocks
    "gemma3_text": "forward-mode",  # sliding window
    "mamba": "forward-mode",
    "rwkv": "forward-mode",
    "recurrent_gemma": "central-differences",  # recurrence and attention
    "reformer": "central-differences",  # whole blocks inside a custom autograd function
    "bart": "forward-mode",  # the decoder of an encoder-decoder
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these models are too small for more
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    return compare(tiny_model("llama"), together())


@pytest.mark.parametrize("name", SAMPLE)
def test_engine_agrees_with_brute_force(name: str) -> None:
    row = check(name)
    assert row.verdict == "agrees", row
    assert row.difference is not None
    assert row.difference <= TOLERANCE
    assert row.method.startswith(SAMPLE[name])


def test_prompt_in_a_padded_batch_is_the_prompt_alone() -> None:
    assert padding(tiny_model("qwen2")) <= TOLERANCE


def test_padding_that_matters_is_noticed() -> None:
    assert padding(tiny_model("cpmant")) > PADDING_TOLERANCE


@pytest.mark.parametrize("what", ["baseline", "tangents", "changes", "figures", "derivative"])
@pytest.mark.parametrize("figure", [1e-4, float("nan")])
def test_difference_is_noticed(
    what: str, figure: float, agreement: Agreement, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = replace(agreement, **{what: figure})
    monkeypatch.setattr(checks, "compare", lambda *_: worse)
    assert check("llama").verdict == "WRONG"


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.23"),
    reason="the tables know architectures that came with transformers 5.23",
)
def test_tables_name_only_architectures_that_exist() -> None:
    assert not (OVERRIDES.keys() | EXCLUDED.keys()) - architectures().keys()


def test_page_lists_every_row_and_counts() -> None:
    text = page(
        [
            Row("a", "AForCausalLM", "agrees", 1e-12, "forward-mode, trunk shared", 1e-16),
            Row("b", "BForCausalLM", "agrees", 1e-12, "forward-mode, trunk shared", 0.25),
            Row("c", "CForCausalLM", "WRONG", 0.5, "forward-mode, trunk shared", 0.0, "Jδ 5e-01"),
            Row("d", "DForCausalLM", "not measured", reason="predicts audio codes"),
        ]
    )
    assert "**2 of 4 agree to 1e-8; 1 wrong.**" in text
    assert "| a | AForCausalLM | 1e-12 | forward-mode, trunk shared | ok |" in text
    assert "| forward-mode, trunk shared | **2e-01** |" in text
    assert "| **WRONG** 5e-01 (Jδ 5e-01) |" in text
    assert "| d | DForCausalLM | predicts audio codes |" in text
