"""Before anything is measured: do all ranks measure the same, and is a journal of it?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_linearity.checkpoint.digest import content_digest, sample_digest
from pytest_linearity.errors import LinearityError
from pytest_linearity.numerics.ranks import ProcessGroup, is_single, on_all_ranks
from pytest_linearity.run.environment import resolve_device
from pytest_linearity.run.store.identity import difference

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.run.store.journal import JournalFolder


Identify: TypeAlias = "Callable[[Callable[[Path], str]], Mapping[str, Any]]"
"""What a measurement depends on, by name, given what stands for the content of a file."""


def require_same_on_all_ranks(
    config: Config, identify: Identify, group: ProcessGroup, journal: JournalFolder | None
) -> None:
    """Load what is measured on all ranks, compare it, and open the journal.

    Args:
        config: What is measured.
        identify: Loads it.
        group: The ranks that measure it.
        journal: Where its results are kept; None for nowhere.

    Raises:
        LinearityError: If something cannot be used on some rank; if ranks would measure different
            things; if the journal is of something else.
    """
    if journal is None and is_single(group):
        return
    found = on_all_ranks(
        group, "loading the checkpoint", lambda: _identity(config, identify, group, journal)
    )
    _require_same(group, found)
    if journal is not None:
        on_all_ranks(group, "opening the journal", lambda: journal.open(found[group.rank]))


def _identity(
    config: Config, identify: Identify, group: ProcessGroup, journal: JournalFolder | None
) -> dict[str, Any]:
    device = group.local_device(resolve_device(config.device))
    if journal is not None:
        journal.require_usable()

    def digest(path: Path) -> str:
        # A journal lives long, and what it is of must be certain; ranks are compared every time.
        return sample_digest(path) if journal is None else content_digest(path, journal.memory)

    found = {**identify(digest), "the kind of device": device.type}
    return dict(json.loads(json.dumps(found)))  # versions are strings, and more than that


def _require_same(group: ProcessGroup, found: Sequence[dict[str, Any]]) -> None:
    for rank, other in enumerate(found):
        if other == found[0]:
            continue
        named = difference(found[0], other, there="on rank 0", here=f"on rank {rank}")
        raise LinearityError(
            f"rank {rank} on {group.hosts[rank]} would measure something else than rank 0 on "
            f"{group.hosts[0]}: {named}"
        )
