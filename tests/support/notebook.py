"""The example notebook, executed: for its test, and to commit it with its outputs.

    python -m tests.support.notebook

executes `examples/python_interface.ipynb` and writes it back, without what varies from machine to
machine.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest import mock

import nbclient
import nbformat

from tests.support.paths import EXAMPLES

PATH = EXAMPLES / "python_interface.ipynb"
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The notebook, run from top to bottom in a folder by an interpreter of its own.

    Raises:
        CellExecutionError: If a cell fails.
    """
    copy = nbformat.from_dict(notebook)
    with tempfile.TemporaryDirectory() as empty:
        # Kernels and startup files of the user are none of ours.
        settings = dict.fromkeys(("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"), empty)
        settings["JUPYTER_PLATFORM_DIRS"] = "1"
        # tqdm's, about widgets that this notebook does without.
        settings["PYTHONWARNINGS"] = "ignore:IProgress not found"
        with mock.patch.dict(os.environ, settings):
            nbclient.NotebookClient(
                copy,
                timeout=300,
                kernel_name="python3",
                record_timing=False,
                coalesce_streams=True,  # what is printed may come in any number of pieces
                resources={"metadata": {"path": str(folder)}},
            ).execute()
    return stripped(copy)


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without the versions, times and identities of the run."""
    notebook.metadata = nbformat.from_dict(_METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({})
        cell.id = f"cell-{number:02d}"
    return notebook


def read() -> nbformat.NotebookNode:
    """The notebook as it was committed."""
    return nbformat.read(PATH, as_version=4)


if __name__ == "__main__":
    nbformat.write(executed(read(), EXAMPLES), PATH)
