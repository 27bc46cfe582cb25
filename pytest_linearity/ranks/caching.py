"""Earlier measurements, of which rank 0 may have one: then all ranks take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_linearity.crew import Crew, alone, together
from pytest_linearity.errors import RanksError
from pytest_linearity.stored import findings_of, plain_findings

if TYPE_CHECKING:
    from pytest_linearity.cache import Cache
    from pytest_linearity.findings import Findings
    from pytest_linearity.run import Measure, Run


def obtain(crew: Crew, cache: Cache, run: Run, measure: Measure) -> Findings:
    """The findings of an earlier run that rank 0 has, or those of now, which it keeps.

    Args:
        crew: The ranks.
        cache: That of this process; only that of rank 0 is looked into.
        run: What findings are wanted of.
        measure: Measures on all ranks together.

    Raises:
        LinearityError: If config, checkpoint or probes cannot be used.
    """
    if alone(crew):
        return cache.obtain(run, measure)
    if not any(together(crew, "the cache", lambda: crew.rank == 0 and cache.has(run))):
        return measure() if crew.rank else cache.obtain(run, measure)
    found = together(
        crew,
        "an earlier measurement",
        lambda: None if crew.rank else plain_findings(cache.obtain(run, measure)),
    )[0]
    findings = findings_of(found or {})
    if findings is None:
        raise RanksError("rank 0 has an earlier measurement that this version cannot read")
    return findings
