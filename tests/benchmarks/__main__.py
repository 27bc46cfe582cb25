"""`make bench`: prints the tables of figures that the engine must reach."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the oracle, as the tests import it

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.exactness import exactness_rows
from tests.benchmarks.memory import memory_rows
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
        ("Memory", _table(memory_rows())),
        ("Time", _times(speed_rows())),
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
