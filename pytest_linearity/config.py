"""One frozen, validated config of a run, and how it is read from a YAML file."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pytest_linearity import values
from pytest_linearity.errors import ConfigError
from pytest_linearity.scope import parse_scope
from pytest_linearity.values import Parser, shown

FORMATTINGS = ("alpaca", "sharegpt", "openai")
COLUMNS = ("prompt", "query", "response", "history", "messages", "system", "tools")
TAGS = (
    "role_tag",
    "content_tag",
    "user_tag",
    "assistant_tag",
    "observation_tag",
    "function_tag",
    "system_tag",
)


class ConfigWarning(UserWarning):
    """Something in a config that is probably not what its author meant."""


def _key(default: Any, parse: Parser) -> Any:
    """A key with its default (``...`` when it is required) and the parser of its values."""
    if default is ...:
        return field(metadata={"parse": parse})
    return field(default=default, metadata={"parse": parse})


def _scope(value: Any) -> str:
    text = values.text(value)
    try:
        parse_scope(text)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("param_scope: ")) from None
    return text


def _full_only(value: Any) -> str:
    if value != "full":
        raise ValueError(
            f"{shown(value)} cannot be measured: only fully fine-tuned checkpoints (full) can; "
            "merge adapters into their base model first"
        )
    return "full"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run depends on, validated; each field but ``source`` is a key of the YAML.

    A key set to ``None`` has its default.

    Raises:
        ConfigError: If a value cannot be used; the message names the key and the value.
    """

    model_name_or_path: str = _key(..., values.path)
    """The checkpoint: a directory, or the id of a model on the Hugging Face hub."""
    model_revision: str = _key("main", values.text)
    """Branch, tag or commit of a checkpoint on the hub."""
    tokenizer_name_or_path: str | None = _key(None, values.path)
    """Where the tokenizer is, when it does not lie with the checkpoint."""
    cache_dir: str | None = _key(None, values.path)
    """Where downloads from the hub are kept."""
    trust_remote_code: bool = _key(False, values.boolean)
    """Whether Python code that comes with the checkpoint may run."""
    finetuning_type: str = _key("full", _full_only)
    """How the checkpoint was fine-tuned; only ``full`` can be measured."""

    prompts: tuple[str, ...] | None = _key(None, values.prompts)
    """Prompts written in the YAML; taken as they are, without a chat template."""
    dataset: tuple[str, ...] | None = _key(None, values.names)
    """Data sets: names in ``dataset_info.json``, local files or folders, or hub ids."""
    dataset_dir: str = _key("data", values.path)
    """Folder of ``dataset_info.json`` and the files that it names."""
    subset: str | None = _key(None, values.text)
    """Which configuration of a data set on the hub; overrides ``dataset_info.json``."""
    split: str | None = _key(None, values.text)
    """Which split of a data set; ``None`` is that of ``dataset_info.json``, or ``train``."""
    formatting: str | None = _key(None, values.one_of(*FORMATTINGS))
    """How rows are laid out; ``None`` is that of ``dataset_info.json``, or ``alpaca``."""
    columns: Mapping[str, str] | None = _key(None, values.mapping_of_names(*COLUMNS))
    """Which column holds what; one left out here means none."""
    tags: Mapping[str, str] | None = _key(None, values.mapping_of_names(*TAGS))
    """How messages of ``sharegpt`` and ``openai`` rows are tagged; one left out means none."""
    max_samples: int | None = _key(None, values.integer(1))
    """Only the first so many rows of each data set; ``None`` for all."""
    num_samples: int | None = _key(None, values.integer(1))
    """So many rows of each data set, drawn at random with ``seed``; ``None`` for all."""
    template: str | None = _key(None, values.path)
    """Chat template where the tokenizer has none: a name, or the path of a Jinja file."""
    default_system: str | None = _key(None, values.text)
    """System message of rows that have none."""
    cutoff_len: int = _key(2048, values.integer(1))
    """Longest prompt, in tokens; a longer one keeps its end."""
    batch_size: int = _key(8, values.integer(1))
    """Prompts per forward pass."""

    num_directions: int = _key(8, values.integer(1))
    """How many random directions."""
    perturbation_std: float = _key(1e-3, values.positive)
    """σ of the Gaussian draw before normalisation; it cancels in the unit norm."""
    radii: tuple[float, ...] = _key((0.1, 0.3, 1.0), values.radii)
    """The radii to test, in ascending order."""
    param_scope: str = _key("full", _scope)
    """Which parameters directions live on: ``full`` or ``last_blocks:k``."""
    cos_threshold: float = _key(0.95, values.within(-1, 1))
    """Lowest mean cosine similarity that complies."""
    relerr_threshold: float = _key(0.20, values.within(0, math.inf))
    """Highest mean relative error that complies."""
    min_linearity_radius: float | None = _key(None, values.positive)
    """Smallest linearity radius that passes; ``None`` when every radius must comply."""
    precision: str = _key("auto", values.one_of("auto", "float32", "float64"))
    """Arithmetic of the forwards."""
    device: str = _key("auto", values.device)
    """Where the forwards run."""
    seed: int = _key(42, values.integer(0, 2**63 - 1))
    """Seeds the directions and any sampling of probes."""

    output_dir: str = _key(".", values.path)
    """Directory of the JSON report."""
    report_filename: str = _key("linearity_report.json", values.file_name)
    """Name of the JSON report."""

    source: Path | None = None
    """The YAML file; ``None`` for a config made in Python."""
    started_in: Path = field(default_factory=Path.cwd)
    """The directory that relative paths are looked up in first."""

    def __post_init__(self) -> None:
        """Parse every value, then check those that depend on each other."""
        for key in fields(self):
            parse = key.metadata.get("parse")
            if parse is not None:
                object.__setattr__(self, key.name, self._parsed(key.name, parse, key.default))
        if self.prompts is not None and self.dataset is not None:
            raise self._error("prompts", "is given together with dataset: only one can be used")
        least = self.min_linearity_radius
        if least is not None and least > self.radii[-1]:
            raise self._error(
                "min_linearity_radius", f"{least:g} is above the largest radius, {self.radii[-1]:g}"
            )

    def _parsed(self, name: str, parse: Parser, default: Any) -> Any:
        raw = getattr(self, name)
        if raw is None:
            return default
        try:
            return parse(raw)
        except ValueError as error:
            raise self._error(name, str(error)) from None

    def _error(self, key: str, message: str) -> ConfigError:
        where = f"{self.source}: " if self.source else ""
        return ConfigError(f"{where}{key}: {message}")

    def locate(self, path: str) -> Path | None:
        """The existing file or folder that a path of this config means.

        Relative paths are looked up where the run was started, then beside the YAML file.
        """
        bases = [self.started_in] + ([self.source.parent] if self.source else [])
        for base in bases:
            candidate = base / os.path.expanduser(path)
            if os.path.exists(candidate):  # False, where Path.exists raises, for odd names
                return candidate
        return None

    @property
    def report_path(self) -> Path:
        """Where the JSON report goes."""
        directory = self.locate(self.output_dir)
        if directory is None:
            directory = self.started_in / os.path.expanduser(self.output_dir)
        return directory / self.report_filename

    def to_dict(self) -> dict[str, Any]:
        """Every key in effect, ready for JSON."""
        return {key: _plain(getattr(self, key)) for key in KEYS}


KEYS = tuple(key.name for key in fields(Config) if "parse" in key.metadata)
"""The keys of the YAML, in the order in which they are documented."""


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """Read a config from a YAML file.

    Keys are taken from the root of the file, then from its section ``analysis``, then from the
    overrides; the later wins. Unknown keys are ignored, since the file may be a whole training
    config; one that looks like a misspelt key of ours is warned about.

    Args:
        path: The YAML file.
        overrides: ``key=value`` texts, the value in YAML, as ``radii=[0.1, 1.0]``.

    Raises:
        ConfigError: If the file cannot be read, or a key or value cannot be used.
    """
    from pytest_linearity.config_file import read_keys

    source = Path(path)
    keys = read_keys(source, overrides, known=KEYS)
    for message in keys.warnings:
        warnings.warn(f"{source}: {message}", ConfigWarning, stacklevel=2)
    if keys.values.get("model_name_or_path") is None:
        raise ConfigError(
            f"{source}: model_name_or_path is missing: give the checkpoint's directory or hub id"
        )
    return Config(**keys.values, source=source)
