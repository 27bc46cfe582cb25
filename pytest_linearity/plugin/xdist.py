"""The part of a process in a session: pytest-xdist's controller or worker, torchrun's rank."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.numerics.ranks import current
from pytest_linearity.run.store.exchange import Exchange

_EXCHANGE = "linearity_exchange"
_UNUSABLE = "linearity_unusable"


class XdistRole:
    """The part that this process has: alone, the controller, or one of its workers."""

    def __init__(self, config: pytest.Config) -> None:
        """A process is a worker when pytest-xdist says so, and else alone until it has workers."""
        self._config = config
        self._input: dict[str, Any] | None = getattr(config, "workerinput", None)
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._silent = current().rank > 0
        self.exchange: Exchange | None = None
        """What this process shares with others; None when it is alone."""
        if self._input is not None:
            # A worker on another machine shares nothing: it measures for itself.
            place = Path(self._input.get(_EXCHANGE, "-"))
            self.exchange = Exchange(place) if place.is_dir() else None

    @property
    def worker(self) -> bool:
        """Whether another process, the controller or rank 0, writes and shows all there is."""
        return self._input is not None or self._silent

    def hush(self) -> None:
        """Say nothing more of why this session ends: it has been said."""
        self._silent = True

    def warns(self, *, gates: bool) -> bool:
        """Whether this process is the one of all that warns of what it finds in a config.

        Args:
            gates: Whether the config is one of a gate, which the controller reads before all
                others; those of the fixtures are read by workers alone.
        """
        if self._input is None:
            return self._directory is None and not self._silent
        return not gates and self._input["workerid"] == "gw0"

    def admit(self, node: Any) -> None:
        """Tell a new worker where to share."""
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="pytest-linearity-")
            self.exchange = Exchange(Path(self._directory.name))
        node.workerinput[_EXCHANGE] = self._directory.name

    def tell_controller(self, session: pytest.Session, message: str) -> None:
        """End this process for a mistake that ends all.

        Raises:
            pytest.UsageError: For a rank, without a word: rank 0 ends with the same.
            pytest.exit.Exception: Else; a usage error would reach the controller as a crash.
        """
        if self._input is None:
            raise pytest.UsageError
        output: dict[str, Any] = self._config.workeroutput  # type: ignore[attr-defined]
        output[_UNUSABLE] = message
        session.shouldstop = message  # or else the controller would wait for tests to be done
        raise pytest.exit.Exception(message, returncode=4)

    @staticmethod
    def told(node: Any) -> str | None:
        """The mistake that ended a worker; None where it ended for another reason."""
        output: dict[str, Any] = getattr(node, "workeroutput", {})
        return output.get(_UNUSABLE)

    def close(self) -> None:
        """Take away what was shared."""
        if self._directory is not None:
            self._directory.cleanup()
