"""A checkpoint: loaded as it is, or refused in one line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity import hub
from pytest_linearity.architecture import check_architecture
from pytest_linearity.checkpoint_files import check_files
from pytest_linearity.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pytest_linearity.config import Config


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
    """Of the weights, as ``bfloat16``."""

    @property
    def max_length(self) -> int | None:
        """Longest prompt the model has positions for; ``None`` when it does not say."""
        longest = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return longest if isinstance(longest, int) and longest > 0 else None

    def describe(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "path": self.path,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "dtype": self.dtype,
        }


def load_checkpoint(config: Config) -> Checkpoint:
    """Load the checkpoint of a config, and its tokenizer.

    Raises:
        CheckpointError: If it cannot be measured: files missing, cut or corrupt; weights that are
            not finite, or do not fit the model; an adapter, quantised weights, a model that is no
            causal language model; no tokenizer, or one with more tokens than the model embeds.
    """
    from pytest_linearity.tokenizer import check_vocabulary, load_tokenizer
    from pytest_linearity.weights import check_finite, check_loaded

    directory = _directory(config)
    weights = check_files(directory)
    check_architecture(directory, trust_remote_code=config.trust_remote_code)
    tokenizer = load_tokenizer(config, directory)
    model, loading = _load(config, directory, weights)
    check_loaded(directory, model, loading)
    check_vocabulary(directory, model, tokenizer)
    check_finite(directory, model)
    return Checkpoint(
        model=model,
        tokenizer=tokenizer,
        path=config.model_name_or_path,
        architecture=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
    )


def _directory(config: Config) -> Path:
    """Where the checkpoint's files are, after fetching them when they are on the hub."""
    name = config.model_name_or_path
    found = config.locate(name)
    if found is not None:
        if not found.is_dir():
            raise CheckpointError(
                f"model_name_or_path: {name} is a file, but a checkpoint's directory is needed"
            )
        return found
    if not hub.is_id(name):
        raise CheckpointError(f"model_name_or_path: {name}: there is no such directory")
    try:
        return hub.snapshot(
            name,
            revision=config.model_revision,
            cache_dir=config.cache_dir,
            code=config.trust_remote_code,
        )
    except Exception as error:  # network, permission and protocol errors have no common base
        forbidden = "; fetching is forbidden by HF_HUB_OFFLINE" if hub.offline() else ""
        raise CheckpointError(
            f"model_name_or_path: {name} is no directory here, and the Hugging Face hub gives no "
            f"such model: {hub.reason(error)}{forbidden}"
        ) from None


def _load(config: Config, directory: Path, weights: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model in evaluation mode, and what transformers says of the loading."""
    import transformers

    loader: Any = transformers.AutoModelForCausalLM

    options: dict[str, Any] = {"attn_implementation": "eager"}
    if hasattr(transformers.PreTrainedModel, "set_experts_implementation"):  # transformers 5
        options["experts_implementation"] = "eager"
    try:
        with hub.quiet():
            model, loading = loader.from_pretrained(
                str(directory),
                dtype="auto",
                local_files_only=True,
                trust_remote_code=config.trust_remote_code,
                use_safetensors=weights.suffix == ".safetensors",
                weights_only=True,
                ignore_mismatched_sizes=True,  # so that they are listed; check_loaded refuses them
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # whatever the model's code raises
        raise CheckpointError(f"{directory}: cannot be loaded: {hub.reason(error)}") from error
    model.eval()
    model.requires_grad_(False)
    model.config.use_cache = False
    return model, loading
