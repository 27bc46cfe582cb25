"""A journal: rounds kept as they come, one file per entry, each whole or not there at all.

What a session needs before anything is measured imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import LinearityError
from pytest_linearity.files import (
    brief,
    fitting,
    read_checked,
    require_writable,
    write_checked,
    write_whole,
)
from pytest_linearity.numerics.ranks import ProcessGroup, on_all_ranks
from pytest_linearity.run.store.identity import difference

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config

_LAYOUT = 3
"""Counts the ways in which entries have been laid out; to be raised where that changes."""
_HEADER = "journal.json"
_MEMORY = "contents.json"
_ENTRY = ".entry"


class JournalFolder:
    """Entries of one measurement, by what they are of."""

    def __init__(self, directory: Path) -> None:
        """A journal in this directory, which need not exist yet; `open` it first."""
        self.directory = directory
        self.read = 0
        """How many entries were read."""
        self.damaged = 0
        """How many were found to be damaged, and were made again."""
        self._of = ""

    @property
    def memory(self) -> Path:
        """Where digests of the checkpoint's files are remembered."""
        return self.directory / _MEMORY

    def require_usable(self) -> None:
        """Find out, without leaving a trace, whether this can be a journal.

        Raises:
            LinearityError: If the place cannot be written, or is something else.
        """
        place = brief(self.directory)
        if os.path.exists(self.directory) and not self.directory.is_dir():
            raise LinearityError(f"journal {place}: this is a file; a journal is a directory")
        require_writable(self.directory / _HEADER, what="journal", set_by="--linearity-resume")
        if not os.path.isdir(self.directory) or (self.directory / _HEADER).exists():
            return
        strangers = sorted(path.name for path in self.directory.iterdir() if not _ours(path))
        if strangers:
            raise LinearityError(
                f"journal {place}: this is no journal, it holds {strangers[0]!r}; name a "
                "directory that is empty or not there yet"
            )

    def open(self, identity: Mapping[str, Any]) -> None:
        """Begin or go on.

        Args:
            identity: What the measurement depends on, by name; plain JSON.

        Raises:
            LinearityError: If the journal is of another measurement, or cannot be written.
        """
        self.require_usable()
        plain = json.loads(json.dumps(identity))
        header = self.directory / _HEADER
        document = read_checked(header)
        if document is None:
            # Missing, or damaged: every entry says for itself what it is of.
            write_checked(header, {"of": plain})
        elif document.get("of") != plain:
            theirs = document.get("of") or {}
            found = difference(theirs, plain, there="in the journal", here="in this run")
            raise LinearityError(
                f"journal {brief(self.directory)}: it is of another measurement, {found}; name "
                "another directory, or remove this one"
            )
        # Entries of another layout are of something else: they are measured again.
        whole = json.dumps([_LAYOUT, plain], sort_keys=True)
        self._of = hashlib.sha256(whole.encode()).hexdigest()

    def add_up(self, group: ProcessGroup) -> None:
        """Count what all ranks have read."""
        counts = on_all_ranks(group, "closing the journal", lambda: (self.read, self.damaged))
        self.read, self.damaged = map(sum, zip(*counts, strict=True))

    def describe(self) -> dict[str, Any]:
        """What came of it, for the report's environment."""
        return {"directory": str(self.directory), "read": self.read, "damaged": self.damaged}

    def get(self, key: Mapping[str, Any]) -> Any:
        """The entry of a key; None where there is none, or no longer a whole one."""
        from pytest_linearity.run.store.packing import unpack

        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        try:
            document = unpack(content)
            if document["of"] == self._of and document["key"] == dict(key):
                self.read += 1
                return document["found"]
        except (ValueError, KeyError, TypeError):
            pass
        self.damaged += 1
        return None

    def put(self, key: Mapping[str, Any], found: Any) -> None:
        """Keep plain data and tensors under a key: plain data, too, that begins with its name.

        Raises:
            LinearityError: If the entry cannot be written.
        """
        from pytest_linearity.run.store.packing import pack

        write_whole(self._path(key), pack({"of": self._of, "key": dict(key), "found": found}))

    def _path(self, key: Mapping[str, Any]) -> Path:
        name, *_ = key.values()
        digest = hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:16]
        return self.directory / f"{name}-{digest}{_ENTRY}"


def _ours(path: Path) -> bool:
    return path.name in (_HEADER, _MEMORY) or path.suffix == _ENTRY or path.name.startswith(".")


def journal_places(
    directory: Path | None, named: Sequence[tuple[Path, Config]]
) -> list[Path | None]:
    """A directory of its own for every run, by the names of its config, checkpoint and scope.

    Args:
        directory: That of all journals; None where none are kept.
        named: The file and the config of each run.
    """
    if directory is None:
        return [None] * len(named)
    directory = directory.absolute()
    places: list[Path | None] = []
    for path, config in named:
        parts = filter(None, (path.name, config.label, config.scope_label))
        name = "-".join(re.sub(r"[^\w.]+", "-", part).strip("-.") for part in parts)
        taken = {place.name for place in places if place}
        numbered = [name, *(f"{name}-{number}" for number in range(2, len(named) + 2))]
        places.append(directory / next(n for n in map(fitting, numbered) if n not in taken))
    return places


def journal_lines(environment: Mapping[str, Any]) -> list[str]:
    """What a report's environment says of the journal, in one line, if anything."""
    journal = environment.get("journal")
    if not journal or not (journal["read"] or journal["damaged"]):
        return []
    said = f"resumed from {brief(Path(journal['directory']))}: {journal['read']} entries read"
    if journal["damaged"]:
        damaged = journal["damaged"]
        said += f", {damaged} damaged {'entry' if damaged == 1 else 'entries'} measured again"
    return [said]
