"""Text -> token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, begin: bool) -> list[int]:
    """The token ids of a prompt, whose last token is the text's own.

    Args:
        tokenizer: Of the checkpoint.
        text: The prompt.
        begin: Whether the special tokens that the tokenizer puts before a text (``<s>``) belong
            there. A chat template has written its own; those a text has already are not doubled.
            What a tokenizer puts behind a text (``</s>``) is never wanted here.
    """
    ids = _plain(tokenizer, text)
    if not begin or not ids:
        return ids
    before = _put_before(tokenizer)
    return ids if ids[: len(before)] == before else before + ids


def encode_pieces(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str], *, begin: bool
) -> list[int]:
    """The token ids of a prompt whose pieces are encoded each by itself.

    Args:
        tokenizer: Of the checkpoint.
        pieces: What the prompt is made of.
        begin: As for `encode`, for the first piece.
    """
    ids = [encode(tokenizer, piece, begin=begin and not at) for at, piece in enumerate(pieces)]
    return [token for piece in ids for token in piece]


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _put_before(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that the tokenizer puts before any text."""
    plain = _plain(tokenizer, "a")
    whole = list(tokenizer("a")["input_ids"])
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """A token to fill batches up with; which one it is has no effect on any prompt's logits."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(candidate, int):
            return candidate
    return 0
