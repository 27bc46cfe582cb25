"""The tokenizer of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.checkpoint import hub
from pytest_linearity.checkpoint.declared import declared_config
from pytest_linearity.checkpoint.readable import names_unknown_dtype
from pytest_linearity.errors import CheckpointError, one_line, pass_on_foreign

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pytest_linearity.config.config import Config

_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
    "*.tiktoken",
)


def load_tokenizer(config: Config, checkpoint: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer that a config names, or else the one that lies with the checkpoint.

    Raises:
        CheckpointError: If there is none, or it cannot be loaded.
    """
    from transformers import AutoTokenizer

    directory = _directory(config, checkpoint)
    if not any(any(directory.glob(name)) for name in _FILES):
        raise CheckpointError(
            f"{directory}: holds no tokenizer: set tokenizer_name_or_path to where it is"
        )
    try:
        with hub.quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                str(directory),
                local_files_only=True,
                trust_remote_code=config.trust_remote_code,
                **_config(directory, trust_remote_code=config.trust_remote_code),
            )
        # Some tools write it as text, which transformers then compares with numbers.
        tokenizer.model_max_length = int(tokenizer.model_max_length)
        size = len(tokenizer.get_vocab())
    except Exception as error:  # tokenizers are built in many ways, and so fail in many
        pass_on_foreign(error)
        raise CheckpointError(
            f"{directory}: its tokenizer cannot be loaded: {one_line(error)}; "
            "tokenizer_name_or_path can name another"
        ) from None
    if size <= len(tokenizer.all_special_tokens):  # transformers makes an empty one of no files
        raise CheckpointError(
            f"{directory}: its tokenizer has no vocabulary: set tokenizer_name_or_path to where "
            "a whole one is"
        )
    return tokenizer


def _config(directory: Path, *, trust_remote_code: bool) -> dict[str, Any]:
    """The model's config where transformers, which may look into it, cannot read it by itself."""
    if not names_unknown_dtype(directory):
        return {}
    return {"config": declared_config(directory, trust_remote_code=trust_remote_code)}


def check_vocabulary(
    directory: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a tokenizer that gives token ids which the model has no embedding for.

    Raises:
        CheckpointError: If it does.
    """
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise CheckpointError(
            f"{directory}: the model embeds {rows} tokens, but its tokenizer has ids up to "
            f"{largest}: they do not belong together"
        )


def _directory(config: Config, checkpoint: Path) -> Path:
    name = config.tokenizer_name_or_path
    if name is None:
        return checkpoint
    place = config.locate(name)
    if place is not None:
        return place if place.is_dir() else place.parent
    try:
        if not hub.is_id(name):
            raise FileNotFoundError("there is no such directory")
        return hub.snapshot(
            name,
            revision="main",
            cache_dir=config.cache_dir,
            code=config.trust_remote_code,
            weights=False,
        )
    except Exception as error:  # network, permission and protocol errors have no common base
        pass_on_foreign(error)
        raise CheckpointError(f"tokenizer_name_or_path: {name}: {one_line(error)}") from None
