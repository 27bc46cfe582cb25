"""Findings as a file: written whole, read back exactly, and refused when damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from pytest_linearity.files import read_checked, write_checked
from pytest_linearity.run.libraries import whole

if TYPE_CHECKING:
    from pytest_linearity.verdict.findings import Findings

_FACTS = ("checkpoint", "probes", "scope", "environment")
"""What is plain already."""
_MEASURED = ("measurement", "radii", "update")
"""What is not."""


def write_findings(path: Path, findings: Findings) -> None:
    """Write findings so that `read_findings` gives exactly the same.

    Raises:
        LinearityError: If the file cannot be written.
    """
    write_checked(path, plain_findings(findings))


def read_findings(path: Path) -> Findings | None:
    """What `write_findings` wrote; None where there is nothing, or it is damaged or of old."""
    document = read_checked(path)
    return None if document is None else findings_of(document)


def plain_findings(findings: Findings) -> dict[str, Any]:
    """Findings as JSON has them, for `findings_of`."""
    facts = {name: dict(getattr(findings, name)) for name in _FACTS}
    return {**facts, **{name: _plain(getattr(findings, name)) for name in _MEASURED}}


def findings_of(document: Mapping[str, Any]) -> Findings | None:
    """What `plain_findings` made plain; None where it is damaged or of old."""
    with whole():
        from pytest_linearity.numerics.measurement.measurement import Measurement
        from pytest_linearity.verdict.findings import Findings, UpdateFindings

    try:
        update = document["update"]
        return Findings(
            _read_as(Measurement, document["measurement"]),
            **{name: document[name] for name in _FACTS},
            radii={kind: tuple(radii) for kind, radii in document["radii"].items()},
            update=update
            and UpdateFindings(
                **{**update, "measurement": _read_as(Measurement, update["measurement"])}
            ),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _plain(value: Any) -> Any:
    """A dataclass as a dict, a tensor as lists, and so on inside them."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _read_as(hint: Any, value: Any) -> Any:
    """What `_plain` made plain, by the type that it had: JSON's lists were tuples or tensors."""
    if get_origin(hint) is UnionType:  # of a type and None
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    if isinstance(value, dict) and isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{name: _read_as(hints[name], entry) for name, entry in value.items()})
    if isinstance(value, dict):
        _, entries = get_args(hint)
        return {key: _read_as(entries, entry) for key, entry in value.items()}
    if isinstance(value, list) and get_origin(hint) is tuple:
        return tuple(_read_as(get_args(hint)[0], entry) for entry in value)
    return _tensor(value) if isinstance(value, list) else value


def _tensor(values: Any) -> Any:
    import torch

    return torch.tensor(values, dtype=torch.float64)
