"""Probes: their tokens, how they are batched, and what the report says of them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from pytest_linearity.config.config import Config
from pytest_linearity.errors import ProbeError
from pytest_linearity.probes.batches import make_batches
from pytest_linearity.probes.encoding import encode, pad_id
from pytest_linearity.probes.load import built_in_prompts, load_probes
from pytest_linearity.probes.probe import Probes
from tests.support.checkpoints import character_tokenizer, llama


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return character_tokenizer()


def load(tokenizer: PreTrainedTokenizerBase, **keys: Any) -> Probes:
    limit = keys.pop("max_length", None)
    return load_probes(Config(model_name_or_path="-", **keys), tokenizer, max_length=limit)


def test_built_in_prompts_are_many_and_of_mixed_length() -> None:
    prompts = built_in_prompts()
    lengths = [len(prompt) for prompt in prompts]
    assert len(set(prompts)) == len(prompts) >= 16
    assert min(lengths) < 20
    assert max(lengths) > 150
    assert all(prompt == prompt.strip() for prompt in prompts)


def test_built_in_prompts_are_the_default(tokenizer: PreTrainedTokenizerBase) -> None:
    probes = load(tokenizer)
    assert [probe.text for probe in probes.probes] == built_in_prompts()
    assert {probe.source for probe in probes.probes} == {"built-in"}
    assert probes.describe()["template"] is None
    assert probes.summary() == f"{len(built_in_prompts())} built-in prompts"


def test_prompts_of_the_config_are_taken_as_they_are(tokenizer: PreTrainedTokenizerBase) -> None:
    first, second = load(tokenizer, prompts=["Ab", "<|user|>1\n"]).probes
    assert first.token_ids == (1, 41, 74)
    assert second.token_ids == (1, 5, 25, 7)
    assert (second.source, second.row) == ("prompts", 1)


def test_special_tokens_are_not_doubled(tokenizer: PreTrainedTokenizerBase) -> None:
    (probe,) = load(tokenizer, prompts=["<bos>Ab"]).probes
    assert probe.token_ids == (1, 41, 74)


def test_nothing_is_put_before_where_the_tokenizer_puts_nothing() -> None:
    (probe,) = load(character_tokenizer(add_bos=False), prompts=["Ab"]).probes
    assert probe.token_ids == (41, 74)


def test_what_a_tokenizer_puts_behind_a_text_is_left_out() -> None:
    from tokenizers import processors

    tokenizer = character_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    assert tokenizer("Ab")["input_ids"] == [1, 41, 74, 2]
    assert encode(tokenizer, "Ab", begin=True) == [1, 41, 74]
    assert encode(tokenizer, "Ab", begin=False) == [41, 74]


def test_a_long_prompt_keeps_its_end_and_is_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    probes = load(tokenizer, prompts=["ABCDE", "AB", "A"], cutoff_len=3)
    assert [probe.token_ids for probe in probes.probes] == [(43, 44, 45), (1, 41, 42), (1, 41)]
    assert [probe.cut for probe in probes.probes] == [True, False, False]
    assert probes.describe()["cut"] == 1
    assert probes.summary() == "3 prompts of the config, 1 cut to the last 3 tokens"


def test_no_prompt_is_longer_than_the_model_has_positions_for(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    probes = load(tokenizer, prompts=["ABCDE"], cutoff_len=4, max_length=2)
    assert probes.probes[0].token_ids == (44, 45)
    assert probes.describe()["cutoff_len"] == 2


def test_blank_prompts_are_dropped_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    probes = load(tokenizer, prompts=["A", "", " \n", "B"])
    assert [(probe.text, probe.row) for probe in probes.probes] == [("A", 0), ("B", 3)]
    assert probes.describe()["dropped"] == {"with an empty prompt": 2}
    assert "2 rows dropped (2 with an empty prompt)" in probes.summary()


def test_no_prompt_left_is_an_error(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ProbeError, match=r"no prompt is left .* 2 with an empty prompt"):
        load(tokenizer, prompts=["", " "])


def test_the_report_tells_rows_apart_by_a_hash_of_their_tokens(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    described = load(tokenizer, prompts=["Ab", "Ab", "<bos>Ab", "AB"]).describe()
    digest = hashlib.sha256(b"1,41,74").hexdigest()[:16]
    assert described["count"] == 4
    assert described["rows"][0] == {"dataset": "prompts", "row": 0, "tokens": 3, "hash": digest}
    hashes = [row["hash"] for row in described["rows"]]
    assert hashes[:3] == [digest] * 3
    assert hashes[3] != digest


# --- batches -----------------------------------------------------------------------------------


def test_batches_hold_prompts_of_like_length_padded_on_the_right() -> None:
    first, second = make_batches([[5, 6, 7], [8], [9, 10]], size=2, pad_id=0)
    assert first.rows == (1, 2)
    assert first.input_ids.tolist() == [[8, 0], [9, 10]]
    assert first.attention_mask.tolist() == [[1, 0], [1, 1]]
    assert first.last.tolist() == [0, 1]
    assert second.rows == (0,)
    assert second.input_ids.tolist() == [[5, 6, 7]]
    assert {t.dtype for t in (first.input_ids, first.attention_mask, first.last)} == {torch.int64}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    prompts=st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=6), min_size=1, max_size=9),
    size=st.integers(1, 5),
)
def test_batches_hold_every_prompt_once(prompts: list[list[int]], size: int) -> None:
    batches = make_batches(prompts, size=size, pad_id=0)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(prompts)))
    widths = [batch.input_ids.shape[1] for batch in batches]
    assert widths == sorted(widths)
    for batch in batches:
        assert len(batch.rows) <= size
        for place, row in enumerate(batch.rows):
            kept = batch.attention_mask[place].bool()
            assert batch.input_ids[place][kept].tolist() == prompts[row]
            assert batch.last[place] == len(prompts[row]) - 1


def test_last_token_logits_in_a_batch_are_those_of_the_prompt_alone(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    model = llama()
    probes = load(tokenizer, batch_size=8)
    assert any(bool((batch.attention_mask == 0).any()) for batch in probes.batches)
    for batch in probes.batches:
        with torch.no_grad():
            together = model(batch.input_ids, attention_mask=batch.attention_mask).logits
        for place, row in enumerate(batch.rows):
            with torch.no_grad():
                alone = model(torch.tensor([probes.probes[row].token_ids])).logits[0, -1]
            last = together[place, batch.last[place]]
            torch.testing.assert_close(last, alone, rtol=1e-5, atol=1e-5)


def test_padding_is_any_token_the_tokenizer_has(tokenizer: PreTrainedTokenizerBase) -> None:
    assert pad_id(tokenizer) == 0
    bare = character_tokenizer()
    bare.pad_token = None
    assert pad_id(bare) == 2
    bare.eos_token = None
    assert pad_id(bare) == 0
