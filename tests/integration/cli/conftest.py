"""The command line, in this process."""

from __future__ import annotations

import pytest

from tests.support.fixtures import Call


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], imported: None) -> Call:
    """Runs the command: its exit code, standard output and standard error."""
    from pytest_linearity.cli import main

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as error:  # argparse
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
