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
from pytest_linearity.files import fitting
from pytest_linearity.numerics.metrics.registry import built_in
from pytest_linearity.numerics.ranks import ProcessGroup, is_single, on_all_ranks
from pytest_linearity.run.store.findings_file import (
    findings_of,
    plain_findings,
    read_findings,
    write_findings,
)
from pytest_linearity.run.store.store import RunKey, Store

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.verdict.findings import Findings


class Cache(Store):
    """Findings on disk, by everything that they depend on.

    Findings under other limits are reused, unless rounding could turn a verdict under the new
    ones: then a measurement settles it. With metrics of others nothing is kept or reused: what
    their code depends on cannot be known.
    """

    def __init__(self, directory: Path) -> None:
        """Keep findings in this directory, which must exist."""
        self._directory = directory
        self._digests: dict[RunKey, str] = {}

    def get(self, key: RunKey) -> Findings | None:
        """The findings of an earlier run, if there are some that can be used.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        earlier = self._find(key) if _reusable(key.config) else None
        if earlier is None:
            return None
        return replace(
            earlier,
            checkpoint={**earlier.checkpoint, "path": key.config.checkpoint},
            environment={**earlier.environment, "reused": True},
        )

    def has(self, key: RunKey) -> bool:
        """Whether there are such findings.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        return self.get(key) is not None

    def put(self, key: RunKey, findings: Findings) -> None:
        """Keep findings for later runs, if that is possible; it warns if it is not."""
        if not _reusable(key.config):
            return
        try:
            write_findings(self._path(key), findings)
        except LinearityError as error:  # no reason to lose what took minutes
            warnings.warn(f"the measurement is not kept for later: {error}", stacklevel=2)

    def _find(self, key: RunKey) -> Findings | None:
        same, config = read_findings(self._path(key)), key.config
        if same is not None:
            return same
        if config.refine or len(config.sampling.counts) > 1:
            return None  # under other limits the crossing is elsewhere, and so is the last look
        others = map(read_findings, sorted(self._directory.glob(f"{self._digest(key)}-*.found")))
        return next((found for found in others if found and _decides(found, config)), None)

    def _path(self, key: RunKey) -> Path:
        from pytest_linearity.verdict.limits import limits_of

        config = key.config
        limits = [f"{config.relerr_threshold!r}", f"{config.cos_threshold!r}"]
        limits += [f"{name}={limit!r}" for name, limit in sorted(config.metric_limits.items())]
        if limits_of(config).by_kind:  # names of kinds may be paths, which are no part of a name
            limits = [hashlib.sha256(repr(limits_of(config)).encode()).hexdigest()]
        return self._directory / fitting(f"{self._digest(key)}-{'-'.join(limits)}", ".found")

    def _digest(self, key: RunKey) -> str:
        """Stands for the checkpoint's content, the probes, the config, versions and device.

        It is taken once: what is measured is the checkpoint as it was then.
        """
        if key not in self._digests:
            memory = self._directory / "contents.json"
            parts = key.identity(lambda path: content_digest(path, memory))
            plain = json.dumps(parts, sort_keys=True)
            self._digests[key] = hashlib.sha256(plain.encode()).hexdigest()
        return self._digests[key]


class RankZero(Store):
    """A store that rank 0 alone looks into and writes; what it finds all ranks have."""

    def __init__(self, store: Store, group: ProcessGroup) -> None:
        """That of rank 0, and the ranks; on other ranks the store is not used."""
        self._store = store
        self._group = group

    def get(self, key: RunKey) -> Findings | None:
        """What rank 0 finds; every rank must ask for it.

        Raises:
            LinearityError: As on rank 0; or if ranks are of different versions.
        """
        if is_single(self._group):
            return self._store.get(key)
        plain = on_all_ranks(self._group, "the cache", lambda: self._plain(key))[0]
        if plain is None:
            return None
        findings = findings_of(plain)
        if findings is None:
            raise RanksError("rank 0 has an earlier measurement that this version cannot read")
        return findings

    def has(self, key: RunKey) -> bool:
        """Whether rank 0 finds something; every rank must ask for it.

        Raises:
            LinearityError: As on rank 0.
        """
        mine = self._group.rank == 0
        return any(on_all_ranks(self._group, "the cache", lambda: mine and self._store.has(key)))

    def put(self, key: RunKey, findings: Findings) -> None:
        """Keep it on rank 0."""
        if self._group.rank == 0:
            self._store.put(key, findings)

    def _plain(self, key: RunKey) -> dict[str, object] | None:
        findings = self._store.get(key) if self._group.rank == 0 else None
        return None if findings is None else plain_findings(findings)


def _reusable(config: Config) -> bool:
    return all(built_in(metric.name) for metric in config.chosen_metrics)


def _decides(findings: Findings, config: Config) -> bool:
    """Whether rounding leaves no doubt about any verdict under the limits of a config."""
    import torch

    from pytest_linearity.numerics.measurement.limits import undecided
    from pytest_linearity.verdict.limits import limits_of

    if config.precision != "auto":
        return True
    measured, limits = findings.measurement, limits_of(config)
    kinds = {kind: measured.of_kind(kind) for kind in measured.by_kind} or {"": measured}
    for kind, of_kind in kinds.items():
        columns = zip(of_kind.noise_floor, of_kind.precision, strict=True)
        for place, (floor, precision) in enumerate(columns):
            metrics = of_kind.values(place, config.chosen_metrics)
            error = metrics[0].values
            if precision == "float64" or floor is None or not error.isfinite().all():
                continue
            if undecided(metrics, torch.full_like(error, floor), limits.of_kind(kind)):
                return False
    return True
