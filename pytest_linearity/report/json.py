"""The report as a JSON file."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_linearity.report.document import Report
from pytest_linearity.report.files import write_whole


def write_json(report: Report, path: Path) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        LinearityError: If the file cannot be written.
    """
    # NaN and Infinity are not JSON: better an error here than a file that no other reader takes.
    content = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, content + "\n")
