"""Which models can be measured: causal language models with their own, unquantised weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_linearity.checkpoint.declared import declared_config
from pytest_linearity.checkpoint.files import read_json
from pytest_linearity.errors import CheckpointError, one_line, pass_on_foreign, shown


def check_architecture(directory: Path, *, trust_remote_code: bool) -> None:
    """Refuse a checkpoint whose config says that it is no causal language model.

    Args:
        directory: The checkpoint; or its `config.json` alone.
        trust_remote_code: Whether code that comes with it may run.

    Raises:
        CheckpointError: If it is quantised, of an unknown kind, an encoder, or a
            sequence-to-sequence model.
    """
    raw = read_json(_file(directory))
    _refuse_quantised(directory, raw)
    remote = raw.get("auto_map")
    if trust_remote_code and isinstance(remote, dict) and "AutoModelForCausalLM" in remote:
        return
    config = _parsed(directory, raw, trust_remote_code)
    _refuse_other_types(_file(directory), raw, config)
    _refuse_other_heads(directory, raw, config)


def _file(directory: Path) -> Path:
    return directory if directory.is_file() else directory / "config.json"


def _refuse_quantised(directory: Path, raw: dict[str, Any]) -> None:
    inner = raw.get("text_config")
    for level in (raw, inner if isinstance(inner, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            if level.get(key):
                scheme = level[key] if isinstance(level[key], dict) else {}
                method = scheme.get("quant_method", "an unnamed method")
                raise CheckpointError(
                    f"{directory}: is quantised ({method}), and rounded weights have no "
                    "derivative: take the unquantised checkpoint"
                )


def _parsed(directory: Path, raw: dict[str, Any], trust_remote_code: bool) -> Any:
    """The config as transformers reads it."""
    try:
        return declared_config(directory, trust_remote_code=trust_remote_code)
    except Exception as error:  # config classes validate in many ways
        pass_on_foreign(error)
        if raw.get("auto_map") and not trust_remote_code:
            raise CheckpointError(
                f"{directory}: needs Python code of its own: set trust_remote_code: true if you "
                "trust it"
            ) from None
        raise CheckpointError(
            f"{_file(directory)}: transformers cannot use it: {one_line(error)}"
        ) from None


def _refuse_other_types(file: Path, raw: dict[str, Any], config: Any) -> None:
    """Refuse true and false for a number, and text for either: some would be taken for 1 or 0."""
    try:
        usual = type(config)().to_dict()
    except Exception:  # a class of the checkpoint's own may need arguments
        return
    for key, value, known in _compared(raw, usual):
        switch = isinstance(known, bool)
        number = isinstance(known, (int, float)) and not switch
        other = (bool, str) if number else (str, int, float)
        if (number or switch) and isinstance(value, other) and not (switch and value in (0, 1)):
            kind = "a number" if number else "true or false"
            raise CheckpointError(f"{file}: {key}: {shown(value)} is not {kind}")


def _compared(
    raw: dict[str, Any], usual: dict[str, Any], before: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Each key of a config and of the configs in it, with its value and that which is usual."""
    for key, value in raw.items():
        known = usual.get(key)
        if known is None and key.endswith(("theta", "factor")):  # of rotary embeddings
            known = 1.0
        if isinstance(value, dict) and (isinstance(known, dict) or key.startswith("rope_")):
            yield from _compared(value, known or {}, f"{before}{key}.")
        else:
            yield f"{before}{key}", value, known


def _refuse_other_heads(directory: Path, raw: dict[str, Any], config: Any) -> None:
    declared = raw.get("architectures") or [config.model_type]
    names = [str(name) for name in (declared if isinstance(declared, list) else [declared])]
    # FSDP2 puts its name before that of the class whose modules it shards.
    classes = {name.removeprefix("FSDP") for name in names}
    kind = _otherwise(config, classes, declares=bool(raw.get("architectures")))
    if kind is not None:
        raise CheckpointError(
            f"{directory}: {', '.join(names)} is {kind}; only causal language models are measured"
        )


def _otherwise(config: Any, named: set[str], *, declares: bool) -> str | None:
    """What a model is when it is no causal language model; ``None`` when it is one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    headed = not declares or named & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    if getattr(config, "is_encoder_decoder", False):
        return "a sequence-to-sequence model"
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not headed:
        return "not a causal language model"
    two_sided = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES or kind == "bert-generation"
    if two_sided and not (getattr(config, "is_decoder", False) or getattr(config, "causal", False)):
        return "an encoder (is_decoder is false), whose tokens see those after them"
    return None
