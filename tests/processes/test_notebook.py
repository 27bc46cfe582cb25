"""The example notebook runs from top to bottom, and shows what it was committed with."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.support import notebook
from tests.support.fixtures import Once
from tests.support.paths import ARITHMETIC

NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")
COMMITTED = notebook.read()
CODE = [place for place, cell in enumerate(COMMITTED.cells) if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, once: Once) -> nbformat.NotebookNode:
    """The notebook executed in an empty folder that has the example's checkpoints."""

    def execute() -> str:
        folder = tmp_path_factory.mktemp("notebook")
        (folder / "arithmetic").symlink_to(ARITHMETIC)
        found = notebook.executed(COMMITTED, folder)
        assert [path.name for path in folder.iterdir()] == ["arithmetic"]
        return str(nbformat.writes(found))

    return nbformat.reads(once("notebook", execute), as_version=4)


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.parametrize("place", CODE)
def test_every_cell_shows_what_was_committed(place: int, fresh: nbformat.NotebookNode) -> None:
    committed, found = COMMITTED.cells[place], fresh.cells[place]
    kinds = [[output.output_type for output in cell.outputs] for cell in (committed, found)]
    assert kinds[0] == kinds[1]
    before, now = printed(committed), printed(found)
    assert NUMBER.sub("#", before).split() == NUMBER.sub("#", now).split()
    for old, new in zip(NUMBER.findall(before), NUMBER.findall(now), strict=True):
        assert _close(old, new), f"{old} has become {new}"


def _close(old: str, new: str) -> bool:
    before, now = (float(number.replace(",", "")) for number in (old, new))
    if "e" in old:  # a noise floor, which depends on the kernels and threads of the machine
        return 0.1 <= now / before <= 10
    last_digit = 10.0 ** -len(old.partition(".")[2])
    return abs(before - now) <= 1.01 * last_digit


def test_what_counts_as_close() -> None:
    assert _close("0.3156", "0.3157")
    assert not _close("0.3156", "0.3158")
    assert _close("2.9e-05", "3.4e-05")
    assert not _close("2.9e-05", "3.4e-04")


def test_what_it_says_of_its_figures(fresh: nbformat.NotebookNode) -> None:
    texts = [printed(fresh.cells[place]) for place in CODE]
    by_hand = next(re.match(r"ε = (\S+) ", text) for text in texts if text.startswith("ε = "))
    pair = next(
        re.search(r"pair from above: ε = (\S+)", text) for text in texts if "pair from" in text
    )
    assert by_hand is not None
    assert pair is not None
    assert float(by_hand[1]) == pytest.approx(float(pair[1]), abs=0.002)
    assert "healthy passes" in texts[1]
    assert "anomalous fails" in texts[1]


def test_a_failing_cell_fails(tmp_path: Path) -> None:
    from nbclient.exceptions import CellExecutionError

    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        notebook.executed(broken, tmp_path)
