"""The baseline of each run: an earlier report, or the place where this run's becomes one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import ConfigError
from pytest_linearity.files import brief, require_writable

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.verdict.document import Report
    from pytest_linearity.verdict.regression.compare import Regression


@dataclass(frozen=True)
class Baseline:
    """What a run is compared with."""

    path: Path
    """Where the baseline lies, or will lie."""
    report: Report | None
    """The earlier report; None where there is none yet, and this run's is to become it."""

    @property
    def name(self) -> str:
        """The path as messages show it."""
        return str(brief(self.path))

    @property
    def missing(self) -> bool:
        """Whether this run's report is to become the baseline."""
        return self.report is None

    def require_same_inputs(self, probes: Mapping[str, Any], scope: Mapping[str, Any]) -> None:
        """Find out, before minutes of measuring, that the baseline cannot be compared with.

        Args:
            probes: What the report will say of its prompts.
            scope: What it will say of its directions.

        Raises:
            BaselineMismatch: If it cannot.
        """
        from pytest_linearity.verdict.regression.pairing import require_same_inputs

        if self.report is not None:
            require_same_inputs(probes, scope, self.report, self.name)

    def compare(self, report: Report, max_regression: float) -> Regression | None:
        """A report against this baseline; None where there is none yet.

        Raises:
            BaselineMismatch: If the two are not about the same pairs.
        """
        from pytest_linearity.verdict.regression.compare import compare

        if self.report is None:
            return None
        return compare(report, self.report, max_regression, name=self.name)

    def create(self, report: Report) -> None:
        """Make a report the baseline, whole or not at all, if there is none yet.

        Raises:
            LinearityError: If it cannot be written.
        """
        from pytest_linearity.report.json import write_json

        if self.missing:
            write_json(report, self.path)


def find_baselines(
    configs: Sequence[Config],
    places: Sequence[Path | None],
    override: str | None = None,
    *,
    create: bool = False,
) -> list[Baseline | None]:
    """The baseline of each config, read and checked as far as that is possible without measuring.

    Args:
        configs: Each names one checkpoint.
        places: Where the report of each goes. A baseline that is a directory (it exists, or its
            name ends with a slash) holds the baseline of each config under that file name.
        override: What the command line names, instead of the key `baseline`.
        create: Whether a missing baseline is to be made of this run's report.

    Returns:
        One per config; None for a config that asks for none.

    Raises:
        ConfigError: If a baseline is missing, not a report, of other pairs than the config's, or
            cannot be made.
    """
    paths = [_path(config, place, override) for config, place in zip(configs, places, strict=True)]
    reports = {path: _read(path, create) for path in paths if path is not None}
    _require_one_owner([path for path in paths if path is not None and reports[path] is None])
    found: list[Baseline | None] = []
    for config, path in zip(configs, paths, strict=True):
        if path is None:
            found.append(None)
            continue
        baseline = Baseline(path, reports[path])
        _require_same_keys(config, baseline)
        found.append(baseline)
    return found


def _path(config: Config, place: Path | None, override: str | None) -> Path | None:
    named = override or config.baseline
    if named is None:
        return None
    if override is not None:
        path = Path(os.path.expanduser(override)).absolute()
    else:
        path = config.locate(named) or config.started_in / os.path.expanduser(named)
    if os.path.isdir(path) or named.endswith(("/", os.sep)):
        return path / (place.name if place else config.report_filename)
    return path


def _read(path: Path, create: bool) -> Report | None:
    from pytest_linearity.report.json import read_report

    if os.path.lexists(path):
        return read_report(path)
    if not create:
        raise ConfigError(
            f"{brief(path)}: there is no such baseline: name an earlier report, or make this "
            "run's the baseline with --linearity-baseline-missing=create"
        )
    require_writable(path, what="baseline", set_by="`baseline` or --linearity-baseline")
    return None


def _require_one_owner(missing: Sequence[Path]) -> None:
    for path, owners in Counter(missing).items():
        if owners > 1:
            raise ConfigError(
                f"{brief(path)}: one file cannot become the baseline of {owners} checkpoints: "
                f"name a directory, as {brief(path.with_suffix(''))}/"
            )


def _require_same_keys(config: Config, baseline: Baseline) -> None:
    from pytest_linearity.verdict.regression.pairing import require_same_keys

    if baseline.report is not None:
        require_same_keys(config.to_dict(), baseline.report, baseline.name)
