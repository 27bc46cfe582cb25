"""Entries of a journal: whole, of this measurement, and laid out as this version reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_linearity.run.store import journal
from pytest_linearity.run.store.journal import JournalFolder

KEY = {"name": "calibration"}


def opened(directory: Path) -> JournalFolder:
    folder = JournalFolder(directory)
    folder.open({"the checkpoint": "digest"})
    return folder


def test_an_entry_is_read_again(tmp_path: Path) -> None:
    opened(tmp_path / "journal").put(KEY, {"noise": 0.5})
    folder = opened(tmp_path / "journal")
    assert folder.get(KEY) == {"noise": 0.5}
    assert (folder.read, folder.damaged) == (1, 0)


def test_an_entry_of_another_layout_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path / "journal").put(KEY, {"noise": 0.5})
    monkeypatch.setattr(journal, "_LAYOUT", journal._LAYOUT + 1)
    folder = opened(tmp_path / "journal")
    assert folder.get(KEY) is None
    assert (folder.read, folder.damaged) == (0, 1)
