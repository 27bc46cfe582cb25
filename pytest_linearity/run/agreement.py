"""Before anything is measured: do all ranks measure the same, and is a journal of it?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_linearity.checkpoint.digest import content_digest, sample_digest
from pytest_linearity.errors import LinearityError
from pytest_linearity.numerics.ranks import Crew, alone, together
from pytest_linearity.run.environment import resolve_device
from pytest_linearity.run.store.identity import difference

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.run.store.journal import Journal


Identify: TypeAlias = "Callable[[Callable[[Path], str]], Mapping[str, Any]]"
"""What a measurement depends on, by name, given what stands for the content of a file."""


def prepare(config: Config, identify: Identify, crew: Crew, journal: Journal | None) -> None:
    """Load what is measured on all ranks, compare it, and open the journal.

    Args:
        config: What is measured.
        identify: Loads it.
        crew: The ranks that measure it.
        journal: Where its results are kept; None for nowhere.

    Raises:
        LinearityError: If something cannot be used on some rank; if ranks would measure different
            things; if the journal is of something else.
    """
    if journal is None and alone(crew):
        return
    found = together(
        crew, "loading the checkpoint", lambda: _identity(config, identify, crew, journal)
    )
    _require_same(crew, found)
    if journal is not None:
        together(crew, "opening the journal", lambda: journal.open(found[crew.rank]))


def _identity(
    config: Config, identify: Identify, crew: Crew, journal: Journal | None
) -> dict[str, Any]:
    device = crew.own(resolve_device(config.device))
    if journal is not None:
        journal.require_usable()

    def digest(path: Path) -> str:
        # A journal lives long, and what it is of must be certain; ranks are compared every time.
        return sample_digest(path) if journal is None else content_digest(path, journal.memory)

    found = {**identify(digest), "the kind of device": device.type}
    return dict(json.loads(json.dumps(found)))  # versions are strings, and more than that


def _require_same(crew: Crew, found: Sequence[dict[str, Any]]) -> None:
    for rank, other in enumerate(found):
        if other == found[0]:
            continue
        named = difference(found[0], other, there="on rank 0", here=f"on rank {rank}")
        raise LinearityError(
            f"rank {rank} on {crew.hosts[rank]} would measure something else than rank 0 on "
            f"{crew.hosts[0]}: {named}"
        )
