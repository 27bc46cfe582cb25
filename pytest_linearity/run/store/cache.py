"""Measurements of earlier runs, reused where nothing that they depend on has changed."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_linearity.checkpoint.digest import content_digest
from pytest_linearity.errors import LinearityError, RanksError
from pytest_linearity.numerics.metrics.registry import built_in
from pytest_linearity.numerics.ranks import ProcessGroup, is_single, on_all_ranks
from pytest_linearity.run.store.findings_file import (
    findings_of,
    plain_findings,
    read_findings,
    write_findings,
)
from pytest_linearity.run.store.identity import identity

if TYPE_CHECKING:
    from pytest_linearity.run.run import Measure, Run
    from pytest_linearity.verdict.findings import Findings

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.run.run import Measure, Run
    from pytest_linearity.verdict.findings import Findings


class Cache:
    """Findings on disk, by everything that they depend on."""

    def __init__(self, directory: Path) -> None:
        """Keep findings in this directory, which must exist."""
        self._directory = directory

    def obtain(self, run: Run, measure: Measure) -> Findings:
        """The findings of an earlier run with the same key, or else those of now, which are kept.

        Findings under other limits are reused, unless rounding could turn a verdict under the new
        ones: then a measurement settles it. With metrics of others nothing is reused: what their
        code depends on cannot be known.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        if not all(built_in(metric.name) for metric in run.config.chosen_metrics):
            return measure()
        key, config = self._key(run), run.measuring
        earlier = self._find(key, config)
        if earlier is not None:
            return replace(
                earlier,
                checkpoint={**earlier.checkpoint, "path": config.checkpoint},
                environment={**earlier.environment, "reused": True},
            )
        findings = measure()
        try:
            write_findings(self._path(key, config), findings)
        except LinearityError as error:  # no reason to lose what took minutes
            warnings.warn(f"the measurement is not kept for later: {error}", stacklevel=2)
        return findings

    def has(self, run: Run) -> bool:
        """Whether an earlier run has findings that can be used.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        known = all(built_in(metric.name) for metric in run.config.chosen_metrics)
        return known and self._find(self._key(run), run.measuring) is not None

    def _find(self, key: str, config: Config) -> Findings | None:
        same = read_findings(self._path(key, config))
        if same is not None:
            return same
        if config.refine or len(config.sampling.counts) > 1:
            return None  # under other limits the crossing is elsewhere, and so is the last look
        others = map(read_findings, sorted(self._directory.glob(f"{key}-*.found")))
        return next((found for found in others if found and _decides(found, config)), None)

    def _path(self, key: str, config: Config) -> Path:
        limits = [f"{config.relerr_threshold!r}", f"{config.cos_threshold!r}"]
        limits += [f"{name}={limit!r}" for name, limit in sorted(config.metric_limits.items())]
        return self._directory / f"{key}-{'-'.join(limits)}.found"

    def _key(self, run: Run) -> str:
        """A digest of the checkpoint's content, the probes, the config, versions and device."""
        analysis, memory = run.analysis, self._directory / "contents.json"
        parts = identity(
            run.measuring,
            analysis.opened.directory,
            analysis.probes,
            lambda path: content_digest(path, memory),
        )
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _decides(findings: Findings, config: Config) -> bool:
    """Whether rounding leaves no doubt about any verdict under the limits of a config."""
    import torch

    from pytest_linearity.numerics.measurement.limits import undecided
    from pytest_linearity.verdict.limits import limits_of

    measured, limits = findings.measurement, limits_of(config)
    if config.precision != "auto":
        return True
    columns = zip(measured.noise_floor, measured.precision, strict=True)
    for place, (floor, precision) in enumerate(columns):
        metrics = measured.values(place, config.chosen_metrics)
        error = metrics[0].values
        if precision == "float64" or floor is None or not error.isfinite().all():
            continue
        if undecided(metrics, torch.full_like(error, floor), limits, measured.kinds):
            return False
    return True


def obtain(group: ProcessGroup, cache: Cache, run: Run, measure: Measure) -> Findings:
    """The findings of an earlier run that rank 0 has, or those of now, which it keeps.

    Args:
        group: The ranks.
        cache: That of this process; only that of rank 0 is looked into.
        run: What findings are wanted of.
        measure: Measures on all ranks together.

    Raises:
        LinearityError: If config, checkpoint or probes cannot be used.
    """
    if is_single(group):
        return cache.obtain(run, measure)
    if not any(on_all_ranks(group, "the cache", lambda: group.rank == 0 and cache.has(run))):
        return measure() if group.rank else cache.obtain(run, measure)
    found = on_all_ranks(
        group,
        "an earlier measurement",
        lambda: None if group.rank else plain_findings(cache.obtain(run, measure)),
    )[0]
    findings = findings_of(found or {})
    if findings is None:
        raise RanksError("rank 0 has an earlier measurement that this version cannot read")
    return findings
