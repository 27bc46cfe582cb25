"""One architecture, checked: a row of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from pytest_linearity.errors import ConfigError, LinearityError
from pytest_linearity.probes.batches import Batch

from .batches import alone, padding, together
from .compare import TOLERANCE, Agreement, compare, largest
from .overrides import EXCLUDED
from .tiny import architectures, tiny_model

PADDING_TOLERANCE = 1e-6
"""Where padding changes more than this, relative, prompts are measured each alone."""

SCOPES = ("full", "last_blocks:1")

DERIVATIVE_TOLERANCE = 1e-5
"""Finite differences that check brute force itself are good for no more, with a kink nearby."""


@dataclass(frozen=True)
class Row:
    """What was found out about one architecture."""

    name: str
    """In the mapping of transformers."""
    model: str
    """Name of its class."""
    verdict: str
    """`agrees`, `WRONG`, or `not measured`."""
    difference: float | None = None
    """Largest relative difference from brute force."""
    method: str = ""
    """Where its derivatives come from, and what its evaluations share."""
    padding: float | None = None
    """Largest relative difference between a prompt in a padded batch and the same one alone."""
    reason: str = ""
    """Why it is not measured, or what went wrong."""


def check(name: str) -> Row:
    """Build an architecture and compare; every failure becomes part of the row."""
    model_name = architectures()[name]
    if name in EXCLUDED:
        return Row(name, model_name, "not measured", reason=EXCLUDED[name])
    try:
        model = tiny_model(name)
    except Exception as error:  # config classes and models raise anything
        return Row(name, model_name, "not measured", reason=f"cannot be built: {_line(error)}")
    try:
        padded = padding(model)
        found = _agreements(model, alone() if padded > PADDING_TOLERANCE else together())
    except LinearityError as error:
        return Row(name, model_name, "not measured", reason=f"refused: {_line(error)}")
    except Exception as error:
        return Row(name, model_name, "WRONG", reason=f"{type(error).__name__}: {_line(error)}")
    worst = largest([agreement.worst for agreement in found.values()])
    derivative = largest([agreement.derivative for agreement in found.values()])
    # Not `>`, which is false for what is no number.
    right = worst <= TOLERANCE and derivative <= DERIVATIVE_TOLERANCE
    return Row(
        name,
        model_name,
        "agrees" if right else "WRONG",
        difference=worst,
        method=_method(found["full"]),
        padding=padded,
        reason="" if right else _largest(found),
    )


def _agreements(model: nn.Module, batches: Sequence[Batch]) -> dict[str, Agreement]:
    found = {}
    for scope in SCOPES:
        try:
            found[scope] = compare(model, batches, scope)
        except ConfigError:  # a model without repeated blocks
            if scope == "full":
                raise
    return found


def _method(agreement: Agreement) -> str:
    known = agreement.known
    shared = [
        what
        for what, shares in (("trunk", known.share_trunk), ("primals", known.share_primals))
        if shares
    ]
    return f"{known.jvp_method}, {' and '.join(shared) or 'nothing'} shared"


def _largest(found: dict[str, Agreement]) -> str:
    return "; ".join(
        f"{scope}: baseline {a.baseline:.0e}, Jδ {a.tangents:.0e}, changes {a.changes:.0e}, "
        f"figures {a.figures:.0e}, derivative {a.derivative:.0e}"
        for scope, a in found.items()
    )


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(line.strip() for line in lines)[:200] if lines else type(error).__name__
