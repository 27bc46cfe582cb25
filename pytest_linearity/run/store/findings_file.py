"""Findings as a file: written whole, read back exactly, and refused when damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.files import read_checked, write_checked

if TYPE_CHECKING:
    from pytest_linearity.verdict.findings import Findings

_TENSORS_BY_NAME = {"figures", "metric_noise"}
_PARTS = {"curvature_ratio", "layers", "refinement"}
"""What is None where it was not asked for."""
_FACTS = ("checkpoint", "probes", "scope", "environment")


def write_findings(path: Path, findings: Findings) -> None:
    """Write findings so that `read_findings` gives exactly the same.

    Raises:
        LinearityError: If the file cannot be written.
    """
    write_checked(path, plain_findings(findings))


def plain_findings(findings: Findings) -> dict[str, Any]:
    """Findings as JSON has them, for `findings_of`."""
    measured = findings.measurement
    plain = {key.name: getattr(measured, key.name) for key in fields(measured)}
    for name in _TENSORS_BY_NAME & plain.keys():
        plain[name] = {metric: values.tolist() for metric, values in plain[name].items()}
    for name in _PARTS & plain.keys():
        plain[name] = _plain(plain[name])
    facts = {name: dict(getattr(findings, name)) for name in _FACTS}
    return {"measurement": plain, **facts}


def read_findings(path: Path) -> Findings | None:
    """What `write_findings` wrote; None where there is nothing, or it is damaged or of old."""
    document = read_checked(path)
    return None if document is None else findings_of(document)


def findings_of(document: Mapping[str, Any]) -> Findings | None:
    """What `plain_findings` made plain; None where it is damaged or of old."""
    from pytest_linearity.numerics.measurement.measurement import Measurement
    from pytest_linearity.verdict.findings import Findings

    try:
        parts = {key: _hashable(value) for key, value in document["measurement"].items()}
        for name in _TENSORS_BY_NAME & parts.keys():
            parts[name] = {metric: _tensor(values) for metric, values in parts[name].items()}
        asked = [name for name in _PARTS if parts.get(name) is not None]
        parts.update({name: _part(name, parts[name]) for name in asked})
        return Findings(Measurement(**parts), **{name: document[name] for name in _FACTS})
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hashable(entry) for key, entry in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """A dataclass or a tensor as JSON has it, and what is neither as it is."""
    if is_dataclass(value):
        return {key.name: _plain(getattr(value, key.name)) for key in fields(value)}
    return value.tolist() if hasattr(value, "tolist") else value


def _part(name: str, values: Any) -> Any:
    """What `_plain` made plain, by the name of its field."""
    if name == "layers":
        from pytest_linearity.numerics.measurement.measurement import LayerProfile

        tensors = (_tensor(values[key]) for key in ("relative_error", "cosine_similarity"))
        return LayerProfile(values["names"], *tensors)
    if name == "refinement":
        from pytest_linearity.numerics.measurement.measurement import Refinement

        return Refinement(**values)
    return _tensor(values)


def _tensor(values: Any) -> Any:
    import torch

    return torch.tensor(values, dtype=torch.float64)
