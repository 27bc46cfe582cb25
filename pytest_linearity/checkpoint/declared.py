"""The config that a checkpoint declares its model by, as transformers reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.checkpoint import hub
from pytest_linearity.checkpoint.readable import readable

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def declared_config(place: Path, *, trust_remote_code: bool) -> PretrainedConfig:
    """Read it, from this machine alone.

    Args:
        place: The checkpoint; or its `config.json` alone.
        trust_remote_code: Whether code that comes with it may run.

    Raises:
        Exception: Whatever the config's class raises, which validates in its own way.
    """
    from transformers import AutoConfig

    with hub.quiet(), readable(place) as path:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=trust_remote_code
        )
    config._name_or_path = str(place)
    return config


def max_length(declared: PretrainedConfig) -> int | None:
    """Longest prompt, in tokens, that the model has positions for; None when it does not say."""
    longest = getattr(declared.get_text_config(), "max_position_embeddings", None)
    return longest if isinstance(longest, int) and longest > 0 else None


def eager() -> dict[str, Any]:
    """How transformers is asked for a model without fused kernels, which have no tangents."""
    from transformers import PreTrainedModel

    options = {"attn_implementation": "eager"}
    if hasattr(PreTrainedModel, "set_experts_implementation"):  # transformers 5
        options["experts_implementation"] = "eager"
    return options
