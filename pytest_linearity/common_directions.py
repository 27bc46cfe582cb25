"""The directions that two reports have in common, as rows of their pairs.

Direction k of a kind is the same in every run of a seed, however many are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_linearity.report.document import Report

Rows = tuple[list[int], list[int]]
"""Rows of one report, and the same directions as rows of the other."""


def common_rows(report: Report, baseline: Report) -> Rows:
    """The rows of the directions that both have; of each kind the first so many."""
    here, there = counts_by_kind(report), counts_by_kind(baseline)
    rows: Rows = ([], [])
    starts = [0, 0]
    for kind, count in here.items():
        shared = range(min(count, there.get(kind, 0)))
        for side, counts in enumerate((here, there)):
            rows[side].extend(starts[side] + k for k in shared)
            starts[side] += counts.get(kind, 0)
    return rows


def counts_by_kind(report: Report) -> dict[str, int]:
    """How many directions of each kind a report has; those of a kind lie one after another."""
    directions = report.scope.get("directions")
    kinds = directions.get("kinds") if isinstance(directions, Mapping) else None
    if not isinstance(kinds, list):
        return {"": _measured(report)}
    return {str(entry["kind"]): int(entry["count"]) for entry in kinds}


def _measured(report: Report) -> int:
    return len(report.pairs[str(report.radii[0].radius)]["relative_error"])
