"""What figures depend on: checkpoint, probes, config, versions and device, by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.numerics.directions.kinds import file_of

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.probes.probe import Probes

_NOT_MEASURED = {
    "cos_threshold",
    "relerr_threshold",
    "verdict",
    "metrics",
    "limits",
    "min_linearity_radius",
    "baseline",
    "max_regression",
    "output_dir",
    "report_filename",
}
"""Keys that say what is made of a measurement, or that `identity` puts in other words. All
others are taken to matter, also new ones."""

_LIMITS = {"cos_threshold", "relerr_threshold", "limits"}
"""Those of them that say what a radius must keep."""

_IN_OTHER_WORDS = {
    "model_name_or_path",
    "model_revision",
    "tokenizer_name_or_path",
    "cache_dir",
    "base_model_name_or_path",
    "base_model_revision",
    "optimizer_state",
}
"""Keys that name files, of which the content is what matters."""


def identity(
    config: Config, directory: Path, probes: Probes, digest: Callable[[Path], str]
) -> dict[str, Any]:
    """What the figures of a run depend on; no weights are loaded for it.

    Args:
        config: What is measured, and how.
        directory: The checkpoint's files.
        probes: The prompts.
        digest: What stands for the content of a directory or file; see `content_digest`.

    Returns:
        Plain JSON; equal where figures are, but for rounding.

    Raises:
        LinearityError: If config, checkpoint or probes cannot be used.
    """
    from pytest_linearity.run.environment import device_name, versions

    prompts = [[probe.token_ids for probe in probes.probes], probes.describe(), probes.pad_id]
    return {
        **measured_keys(config),
        "the checkpoint": digest(directory),
        "the files of directions": [digest(path) for path in _vector_files(config, directory)],
        "the prompts": hashlib.sha256(json.dumps(prompts, sort_keys=True).encode()).hexdigest(),
        **{f"the version of {name}": version for name, version in versions().items()},
        "the device": device_name(config.device),
    }


def difference(theirs: Mapping[str, Any], ours: Mapping[str, Any], *, there: str, here: str) -> str:
    """Where two of them differ, in words; the first of the differences."""
    names = [*ours, *(name for name in theirs if name not in ours)]
    name = next((name for name in names if theirs.get(name) != ours.get(name)), None)
    if name is None:
        return "nothing"
    if name in _DIGESTS:
        return f"{name} differs"
    return f"{name} is {_brief(theirs.get(name))} {there} and {_brief(ours.get(name))} {here}"


_DIGESTS = {"the checkpoint", "the files of directions", "the prompts", "the scope"}
"""What is known by its digest only."""


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _vector_files(config: Config, directory: Path) -> list[Path]:
    """The files that directions are made of; what is missing is refused when it is read."""
    from pytest_linearity.checkpoint.load import base_directory
    from pytest_linearity.checkpoint.optimizer.find import FILE

    places = [config.locate(path) for path in filter(None, map(file_of, config.directions))]
    if config.base_model_name_or_path is not None:
        places.append(base_directory(config))
    if config.follows_optimizer:
        named = config.optimizer_state
        places.append(directory / FILE if named is None else config.locate(named))
    return [place for place in places if place and place.exists()]


def measured_keys(config: Config) -> dict[str, Any]:
    """The keys of a config that its figures depend on."""
    unused = _NOT_MEASURED | _IN_OTHER_WORDS
    if config.automatic or config.gates_update:  # then their crossing is looked for
        unused -= _LIMITS
    if len(config.sampling.counts) == 1:  # else it says when to stop
        unused = {*unused, "confidence"}
    keys = {key: value for key, value in config.to_dict().items() if key not in unused}
    return {**keys, "metrics": sorted(metric.name for metric in config.chosen_metrics)}
