"""Which checkpoints, scopes, limits and radii each of a project's own tests runs on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from pytest_linearity.plugin.marks import described, marked_keys, under
from pytest_linearity.run.run import Run


def parametrize(metafunc: pytest.Metafunc, runs: Sequence[Run]) -> None:
    """Run a test that asks for the fixtures once per checkpoint, scope, and radius if asked for.

    Args:
        metafunc: The test, as pytest collects it.
        runs: The runs that fixtures give; what they have in common is left out of the test's id.

    Raises:
        pytest.fail.Exception: If a mark of the test has an argument or value that it cannot have.
    """
    keys = marked_keys(metafunc.definition)
    marked = bool(keys) and "linearity_config" in metafunc.fixturenames
    by_radius = "linearity_radius" in metafunc.fixturenames
    names = _ids(runs)
    if not (marked or by_radius or any(names.values())):
        return
    metafunc.parametrize(
        ["_linearity_run", *["linearity_config"] * marked, *["linearity_radius"] * by_radius],
        [
            pytest.param(run, *[config] * marked, *radius, id="-".join(name or [described(keys)]))
            for run in runs
            for config in [under(run.config, keys, metafunc.definition)]
            for radius in ([[radius] for radius in config.tested_radii] if by_radius else [[]])
            for name in [[*names[run], *map(str, radius)]]
        ],
        indirect=True,
        scope="session",
    )


def _ids(runs: Sequence[Run]) -> dict[Run, list[str]]:
    """Config, checkpoint and scope of each run, as far as it is one of several."""
    several = len({run.source for run in runs}) > 1
    return {run: [*([run.config_name] if several else []), *run.config.labels] for run in runs}


def require_radii(items: Iterable[pytest.Item]) -> None:
    """Have the radii measured that marks of these tests name, and configs do not."""
    for item in items:
        call = getattr(item, "callspec", None)
        given = call.params if call else {}
        run: Run | None = given.get("_linearity_run")
        if run is None:
            continue
        if "linearity_config" in given:
            run.require_radii(given["linearity_config"].radii_by_kind)
        if "linearity_radius" in given:
            run.require_radii([given["linearity_radius"]])
