"""Rows -> a markdown page."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import transformers

from .check import PADDING_TOLERANCE, SCOPES, Row
from .compare import DIRECTIONS, RADII, TOLERANCE

_INTRODUCTION = """\
# Architectures

Every causal language model in transformers {transformers}'s mapping, built tiny with random weights
and measured in true float64 (torch {torch}), against plain evaluation of the whole model: `make
conformance` writes this page. Compared are the logits at θ\\*, Jδ and f(θ\\* + rδ) − f(θ\\*) for
{directions} directions, r = {radii} and the scopes {scopes}, each relative to its own norm, and the
figures ε and c. Brute force's Jδ is held against its own finite differences, too.

**{agree} of {total} agree to {tolerance}; {wrong} wrong.**

- *difference*: the largest of all these.
- *method*: where Jδ comes from, and what the evaluations share: all that runs before the first
  parameter (*trunk*), the products at θ\\* (*primals*).
- *padding*: how far the logits of a prompt in a right-padded batch are from those of the prompt
  alone. An architecture with a figure in bold looks at its padding, and was compared with each
  prompt alone: the gate then batches only prompts of one length.

| name | model | difference | method | padding |
|---|---|---|---|---|
"""

_REST = """
## Not measured

| name | model | why |
|---|---|---|
"""


def page(rows: Sequence[Row]) -> str:
    """The whole page."""
    measured = [row for row in rows if row.difference is not None]
    rest = [row for row in rows if row.difference is None]
    text = _INTRODUCTION.format(
        transformers=transformers.__version__,
        torch=torch.__version__.split("+")[0],
        directions=DIRECTIONS,
        radii=" and ".join(map(str, RADII)),
        scopes=" and ".join(f"`{scope}`" for scope in SCOPES),
        agree=_count(rows, "agrees"),
        total=len(rows),
        tolerance=f"{TOLERANCE:.0e}".replace("e-0", "e-"),
        wrong=_count(rows, "WRONG") or "none is",
    )
    text += "".join(_measured(row) for row in measured)
    if rest:
        text += _REST + "".join(f"| {r.name} | {r.model} | {_cell(r.reason)} |\n" for r in rest)
    return text


def _measured(row: Row) -> str:
    difference = f"{row.difference:.0e}"
    if row.verdict != "agrees":
        difference = f"**WRONG** {difference} ({_cell(row.reason)})"
    return f"| {row.name} | {row.model} | {difference} | {row.method} | {_padding(row)} |\n"


def _padding(row: Row) -> str:
    if row.padding is None or row.padding <= TOLERANCE:
        return "ok"
    figure = f"{row.padding:.0e}"
    return f"**{figure}**" if row.padding > PADDING_TOLERANCE else figure


def _count(rows: Sequence[Row], verdict: str) -> int:
    return sum(row.verdict == verdict for row in rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
