"""Where findings of runs may lie already, and how a run is named there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.verdict.findings import Findings


@dataclass(frozen=True)
class RunKey:
    """Which run, as a value: equal in all processes for the same config, checkpoint and scope.

    The processes of one test run need no more than these names. What an earlier test run has
    measured is known by all that its figures depend on, which takes reading the checkpoint's
    files: `identity` does that, when it is needed.
    """

    source: Path
    """The config's file."""
    label: str | None
    """What tells the checkpoint from the others of its config; None for the only one."""
    scope: str | None
    """What tells the scope from the others of its config; None for the only one."""
    name: str = field(compare=False)
    """How messages call it."""
    config: Config = field(compare=False)
    """What is measured."""
    identity: Callable[[Callable[[Path], str]], Mapping[str, Any]] = field(
        compare=False, repr=False
    )
    """What the figures depend on, by name, given what stands for the content of a file."""


class Store:
    """A place where findings of runs lie, by their keys; this one keeps nothing.

    A run is looked for with `get`, then once more while its `lock` is held, as whoever held it
    before may have left what was looked for. What is measured then is handed to all with `put`,
    and why it could not be measured with `fail`.
    """

    def get(self, key: RunKey) -> Findings | None:
        """What lies there; None where nothing does.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used, as was found before or
                is found now.
            RuntimeError: If measuring failed before in any other way.
        """
        return None

    def has(self, key: RunKey) -> bool:
        """Whether `get` would find something, or raise what was found before."""
        return False

    def lock(self, key: RunKey) -> AbstractContextManager[None]:
        """Keep other processes from measuring the same run, or on the same device.

        Raises:
            MeasurementError: If a process that held it was killed.
        """
        return nullcontext()

    def put(self, key: RunKey, findings: Findings) -> None:
        """Keep findings."""

    def fail(self, key: RunKey, error: BaseException) -> None:
        """Keep why there are none."""


@dataclass(frozen=True)
class Stores:
    """The places where a run looks before it measures."""

    exchange: Store = field(default_factory=Store)
    """What the processes of this test run share."""
    cache: Store = field(default_factory=Store)
    """What earlier test runs have left."""
