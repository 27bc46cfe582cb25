"""All architectures, one after another, into `examples/architectures.md`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.support.paths import EXAMPLES

from .check import Row
from .table import page
from .tiny import architectures
from .worker import Worker

TABLE = EXAMPLES / "architectures.md"


def main(names: Sequence[str]) -> int:
    """Check architectures and print what comes of it.

    Args:
        names: Which; none for all of them, and then the table is written.

    Returns:
        Exit status: 1 if any is wrong, 2 for a name that transformers does not know.
    """
    if unknown := sorted(set(names) - set(architectures())):
        print(f"not in transformers' mapping: {', '.join(unknown)}")
        return 2
    started = time.monotonic()
    chosen = list(names) or list(architectures())
    rows = _rows(chosen)
    wrong = [row.name for row in rows if row.verdict == "WRONG"]
    agree = sum(row.verdict == "agrees" for row in rows)
    seconds = time.monotonic() - started
    print(f"{agree} of {len(rows)} agree, {len(wrong)} wrong, in {seconds:.0f} s")
    if not names:
        TABLE.write_text(page(rows), encoding="utf-8")
        print(f"wrote {TABLE}")
    return 1 if wrong else 0


def _rows(names: Sequence[str]) -> list[Row]:
    worker, rows = Worker(), []
    try:
        for number, name in enumerate(names, 1):
            row = worker.check(name)
            rows.append(row)
            figure = "" if row.difference is None else f"{row.difference:.0e} ({row.method})"
            print(f"[{number}/{len(names)}] {name}: {row.verdict} {figure}{row.reason}", flush=True)
    finally:
        worker.end()
    return rows
