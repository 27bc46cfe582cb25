"""Where the journals of a session's runs lie, and what is said of them. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.files import brief

if TYPE_CHECKING:
    from pytest_linearity.config import Config


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
        numbered = (f"{name}-{number}" for number in range(2, len(named) + 2))
        places.append(directory / next(n for n in (name, *numbered) if n not in taken))
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
