"""A checkpoint: loaded as it is, or refused in one line."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.checkpoint import hub
from pytest_linearity.checkpoint.architecture import check_architecture
from pytest_linearity.checkpoint.declared import declared_config, max_length
from pytest_linearity.checkpoint.files import check_files, peculiarities
from pytest_linearity.checkpoint.headers import check_dtypes
from pytest_linearity.errors import CheckpointError, one_line, pass_on_foreign

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pytest_linearity.config.config import Config


class CheckpointWarning(UserWarning):
    """Something in a checkpoint's directory that is not measured."""


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint whose files have been looked at, and whose weights have not been read."""

    directory: Path
    """Where its files are."""
    weights: Path
    """The file that the weights are in, or the first of several."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer."""
    max_length: int | None
    """Longest prompt the model has positions for; ``None`` when it does not say."""


@dataclass(frozen=True)
class Checkpoint:
    """A causal language model with its tokenizer, ready to be measured."""

    model: PreTrainedModel
    """In evaluation mode, without gradients, its weights where and as they were loaded."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer."""
    path: str
    """As the config names it."""
    architecture: str
    """Name of the model's class."""
    parameters: int
    """Number of parameters, a tied one counted once."""
    dtype: str
    """That of most bytes of the weights in its files, as ``bfloat16``."""
    dtypes: Mapping[str, int] = field(default_factory=dict)
    """How many parameters are stored in which dtype, most first."""

    @property
    def max_length(self) -> int | None:
        """Longest prompt the model has positions for; ``None`` when it does not say."""
        return max_length(self.model.config)

    def describe(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "path": self.path,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "dtype": self.dtype,
            **({"dtypes": dict(self.dtypes)} if len(self.dtypes) > 1 else {}),
        }


def open_checkpoint(config: Config) -> OpenedCheckpoint:
    """Look at the files of a checkpoint, and load its tokenizer.

    Raises:
        CheckpointError: If files are missing, cut or corrupt; if it is an adapter, quantised, or no
            causal language model; if it has no tokenizer.
    """
    from pytest_linearity.checkpoint.tokenizer import load_tokenizer

    directory = _found(config, "model_name_or_path", config.checkpoint, config.model_revision)
    weights = check_files(directory)
    check_architecture(directory, trust_remote_code=config.trust_remote_code)
    check_dtypes(directory, weights)
    for peculiarity in peculiarities(directory):
        _warn(peculiarity)
    tokenizer = load_tokenizer(config, directory)
    return OpenedCheckpoint(directory, weights, tokenizer, _declared_length(config, directory))


def load_checkpoint(config: Config, opened: OpenedCheckpoint | None = None) -> Checkpoint:
    """Load the checkpoint of a config, and its tokenizer.

    Args:
        config: Names the checkpoint.
        opened: What `open_checkpoint` has given for this config; opened here when left out.

    Raises:
        CheckpointError: If it cannot be measured: see `open_checkpoint`; weights that are not
            finite, or do not fit the model; a tokenizer with more tokens than the model embeds.

    Example:
        >>> from pytest_linearity import load_config
        >>> checkpoint = load_checkpoint(load_config("examples/arithmetic/linearity.yaml"))
        >>> checkpoint.architecture, checkpoint.parameters
        ('LlamaForCausalLM', 804864)
    """
    from pytest_linearity.checkpoint.model import load_model
    from pytest_linearity.checkpoint.tokenizer import check_vocabulary
    from pytest_linearity.checkpoint.weights import check_finite

    opened = opened or open_checkpoint(config)
    directory = opened.directory
    loaded = load_model(directory, opened.weights, trust_remote_code=config.trust_remote_code)
    model = loaded.model
    check_vocabulary(directory, model, opened.tokenizer)
    check_finite(directory, model)
    return Checkpoint(
        model=model,
        tokenizer=opened.tokenizer,
        path=config.checkpoint,
        architecture=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dtype=loaded.dtype,
        dtypes=loaded.dtypes,
    )


def import_transformers() -> None:
    """Import all of transformers that no checkpoint's architecture decides on."""
    from transformers import (  # noqa: F401
        AutoConfig,
        AutoModelForCausalLM,
        AutoTokenizer,
        PreTrainedModel,
    )


def base_directory(config: Config) -> Path:
    """Where the files of the model are that the checkpoint was made of.

    Raises:
        CheckpointError: If there is no such directory, and no such model on the hub.
    """
    name = config.base_model_name_or_path
    assert name is not None
    return _found(config, "base_model_name_or_path", name, config.base_model_revision)


def load_base(config: Config) -> PreTrainedModel:
    """Load the model that the checkpoint was made of; it needs no tokenizer.

    Its weights stay on disk, mapped into memory, as far as its architecture keeps them as they are.

    Raises:
        CheckpointError: If files are missing, cut or corrupt; if it is an adapter, quantised, or no
            causal language model; if its weights do not fit it.
    """
    from pytest_linearity.checkpoint.model import load_model

    directory = base_directory(config)
    weights = check_files(directory)
    check_architecture(directory, trust_remote_code=config.trust_remote_code)
    check_dtypes(directory, weights)
    return load_model(directory, weights, trust_remote_code=config.trust_remote_code).model


def _warn(message: str) -> None:
    try:
        warnings.warn(message, CheckpointWarning, stacklevel=3)
    except CheckpointWarning as error:  # asked for by `-W error`
        raise CheckpointError(str(error)) from None


def _declared_length(config: Config, directory: Path) -> int | None:
    try:
        declared = declared_config(directory, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # code of the checkpoint's own may raise anything
        pass_on_foreign(error)
        raise CheckpointError(f"{directory}: cannot be loaded: {one_line(error)}") from error
    return max_length(declared)


def config_directory(config: Config) -> Path:
    """Where the checkpoint's config is, and its weights if they are there already.

    Raises:
        CheckpointError: If there is no such directory, and no such model on the hub.
    """
    return _found(
        config, "model_name_or_path", config.checkpoint, config.model_revision, weights=False
    )


def _found(config: Config, key: str, name: str, revision: str, *, weights: bool = True) -> Path:
    """Where a checkpoint's files are, after fetching them when they are on the hub."""
    directory = config.locate(name)
    if directory is not None:
        if not directory.is_dir():
            raise CheckpointError(
                f"{key}: {name} is a file, but a checkpoint's directory is needed"
            )
        return directory
    if not hub.is_id(name):
        raise CheckpointError(f"{key}: {name}: there is no such directory")
    try:
        return hub.snapshot(
            name,
            revision=revision,
            cache_dir=config.cache_dir,
            code=config.trust_remote_code,
            weights=weights,
        )
    except Exception as error:  # network, permission and protocol errors have no common base
        pass_on_foreign(error)
        forbidden = "; fetching is forbidden by HF_HUB_OFFLINE" if hub.offline() else ""
        raise CheckpointError(
            f"{key}: {name} is no directory here, and the Hugging Face hub gives no such model: "
            f"{one_line(error)}{forbidden}"
        ) from None
