"""The Hugging Face hub: when it may be asked, and how little is said while files are loaded."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SMALL_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
_WEIGHTS = ["model*.safetensors"]
_PICKLED_WEIGHTS = ["pytorch_model*.bin"]
_CODE = ["*.py"]


def offline() -> bool:
    """Whether the environment forbids fetching anything."""
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in _OFFLINE)


def is_id(name: str) -> bool:
    """Whether a name may be the id of something on the hub, rather than a path."""
    return _ID.fullmatch(name) is not None


def snapshot(
    name: str, *, revision: str, cache_dir: str | None, code: bool, weights: bool = True
) -> Path:
    """The local copy of a model's files, fetched when it is not there and this is not forbidden.

    Args:
        name: Id of a model on the hub.
        revision: Branch, tag or commit.
        cache_dir: Where copies are kept; the hub's own place when ``None``.
        code: Whether Python files are wanted too.
        weights: Whether more is wanted than the config and the tokenizer.

    Raises:
        OSError: If the files are not there and cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    def fetched(patterns: list[str]) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                cache_dir=cache_dir,
                allow_patterns=patterns,
                ignore_patterns=["*/*"],  # other formats of the same weights, optimiser states, …
                local_files_only=offline(),
            )
        )

    patterns = _SMALL_FILES + (_CODE if code else []) + (_WEIGHTS if weights else [])
    directory = fetched(patterns)
    if weights and not any(directory.glob("model*.safetensors")):
        return fetched(patterns + _PICKLED_WEIGHTS)
    return directory


def is_cached(name: str, *, revision: str, cache_dir: str | None) -> bool:
    """Whether a model's config and weights are in the cache, in which case nothing is fetched.

    Args:
        name: Id of a model on the hub.
        revision: Branch, tag or commit.
        cache_dir: Where copies are kept; the hub's own place when ``None``.
    """
    from huggingface_hub import try_to_load_from_cache

    def there(file: str) -> bool:
        found = try_to_load_from_cache(name, file, cache_dir=cache_dir, revision=revision)
        return isinstance(found, str)

    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    return there("config.json") and any(map(there, weights))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the reports, warnings and progress bars of transformers from the terminal."""
    import logging as levels

    import transformers

    logging: Any = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(levels.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
