"""Which models tests to come still need, so that many checkpoints do not pile up in memory."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable

import pytest

from pytest_linearity.plugin.items import GateTest
from pytest_linearity.plugin.session import LinearitySession
from pytest_linearity.run.run import Run

_OF_THE_MODEL = {
    "linearity_model",
    "linearity_tokenizer",
    "linearity_probes",
    "linearity_directions",
}


class ModelRelease:
    """Lets go of a model once it is measured and no test to come asks for it."""

    def __init__(self, session: LinearitySession) -> None:
        """Nothing is expected yet."""
        self._session = session
        self._all: Counter[Run] = Counter()
        self._model: Counter[Run] = Counter()

    def expect(self, items: Iterable[pytest.Item]) -> None:
        """These tests are going to run."""
        for item in items:
            self._count(item, 1)
        for run in self._session.runs:
            run.expected = self._all[run] > 0

    def done(self, item: pytest.Item) -> None:
        """A test has run."""
        run = self._count(item, -1)
        if run is None or len(self._session.runs) < 2:
            return
        idle = self._all[run] == 0
        if (idle or (run.measured and self._model[run] == 0)) and run.release():
            gc.collect()  # modules and their parents refer to each other

    def _count(self, item: pytest.Item, by: int) -> Run | None:
        run = self._run_of(item)
        if run is not None:
            self._all[run] += by
            if _OF_THE_MODEL.intersection(getattr(item, "fixturenames", ())):
                self._model[run] += by
        return run

    def _run_of(self, item: pytest.Item) -> Run | None:
        if isinstance(item, GateTest):
            return item.run
        if "_linearity_run" not in getattr(item, "fixturenames", ()):
            return None
        given = getattr(item, "callspec", None)
        chosen: Run | None = given.params.get("_linearity_run") if given else None
        return chosen or next(iter(self._session.for_fixtures), None)
