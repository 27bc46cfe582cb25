"""`make bench`: prints the tables of figures that the engine must reach."""

from __future__ import annotations

import os
import platform

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.confidence import confidence_rows
from tests.benchmarks.diagnosis import counted_rows, diagnosis_rows
from tests.benchmarks.exactness import exactness_rows
from tests.benchmarks.larger import larger_rows
from tests.benchmarks.memory import memory_rows
from tests.benchmarks.plan import plan_rows
from tests.benchmarks.prefix import prefix_rows
from tests.benchmarks.speed import Row, speed_rows
from tests.benchmarks.startup import startup_rows


def main() -> None:
    console = Console(width=120)
    console.print(
        f"torch {torch.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads of {os.cpu_count()} processors"
    )
    for title, table in (
        ("Start and end", _table(startup_rows())),
        ("Exactness", _table(exactness_rows())),
        ("Confidence", _table(confidence_rows())),
        ("Memory", _table(memory_rows())),
        ("Larger than memory", _table(larger_rows())),
        ("Planned / taken", _table(plan_rows())),
        ("Counted", _table(counted_rows())),
        ("Time", _times([*speed_rows(), *prefix_rows(), *diagnosis_rows()])),
    ):
        table.title = title
        console.print(table)


def _table(rows: list[tuple[str, str, str]]) -> Table:
    table = Table("", "to reach", "measured", min_width=100)
    for row in rows:
        table.add_row(*row)
    return table


def _times(rows: list[Row]) -> Table:
    table = Table("", "to reach", "median", "min … max", "seconds", min_width=100)
    for row in rows:
        spread = f"{min(row.ratios):.2f} … {max(row.ratios):.2f}"
        table.add_row(row.what, row.target, f"{row.median:.2f}", spread, row.detail)
    return table


if __name__ == "__main__":
    main()
