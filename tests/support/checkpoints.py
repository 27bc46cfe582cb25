"""Builders of tiny checkpoints: random weights, their own tokenizer, loaded in a moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>", "<|system|>", "<|user|>", "<|assistant|>")
CHARACTERS = ("\n", *map(chr, range(32, 127)))
VOCABULARY = len(SPECIAL) + len(CHARACTERS)
"""Size of the tokenizer's vocabulary: 103."""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def character_tokenizer(
    *, chat_template: str | None = CHAT_TEMPLATE, add_bos: bool = True
) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per printable ASCII character.

    ``<pad>`` is 0, ``<bos>`` 1, ``<eos>`` 2, ``<unk>`` 3, ``<|system|>`` 4, ``<|user|>`` 5,
    ``<|assistant|>`` 6, the line break 7, and ``chr(c)`` is ``c - 24``: ``A`` is 41, ``a`` is 73.
    With ``add_bos`` a text is encoded with ``<bos>`` before it, as Llama's tokenizers do.
    """
    from tokenizers import Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *CHARACTERS))}
    # Byte-pair encoding without a single merge leaves the characters as they are.
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.decoder = decoders.Fuse()
    if add_bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 1)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=list(SPECIAL[4:]),
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def llama(
    *,
    vocab: int = VOCABULARY,
    hidden: int = 32,
    blocks: int = 2,
    tie: bool = False,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> PreTrainedModel:
    """A tiny random Llama with four heads, in ``dtype`` (float32 when not given)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.1,  # the usual 0.02 suits far wider models
        tie_word_embeddings=tie,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model.to(dtype or torch.float32).eval()


def tiny_llama(
    directory: Path,
    *,
    vocab: int = VOCABULARY,
    hidden: int = 32,
    blocks: int = 2,
    tie: bool = False,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    max_shard_size: str = "1GB",
    chat_template: str | None = CHAT_TEMPLATE,
    tokenizer: bool = True,
) -> Path:
    """Save a tiny random Llama, with its character tokenizer, in ``directory``.

    Args:
        directory: Where to save it; created when it is not there.
        vocab: Rows of the embedding.
        hidden: Width of the residual stream; a multiple of eight.
        blocks: Number of decoder blocks.
        tie: Whether the head is the embedding.
        dtype: Of the saved weights; float32 when not given.
        seed: Of the random weights.
        max_shard_size: A small one, such as ``"20KB"``, gives a sharded checkpoint.
        chat_template: Of the tokenizer; ``None`` for a tokenizer without one.
        tokenizer: Whether a tokenizer is saved at all.

    Returns:
        ``directory``.
    """
    model = llama(vocab=vocab, hidden=hidden, blocks=blocks, tie=tie, dtype=dtype, seed=seed)
    model.save_pretrained(directory, max_shard_size=max_shard_size)
    if tokenizer:
        character_tokenizer(chat_template=chat_template).save_pretrained(directory)
    return directory


def rewrite(path: Path) -> None:
    """Changes one weight; size and time of the last change stay as they were."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
