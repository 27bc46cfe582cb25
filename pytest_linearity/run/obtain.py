"""The findings of a run: what lies in a store already, or else what measuring comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_linearity.run.scopes import Outcome
from pytest_linearity.run.store.store import RunKey, Store, Stores

if TYPE_CHECKING:
    from pytest_linearity.verdict.findings import Findings


def obtain(
    key: RunKey, measure: Callable[[], Mapping[RunKey, Outcome]], stores: Stores
) -> Findings:
    """The findings of a run: what lies in a store, or else what measuring comes to.

    Args:
        key: Which run.
        measure: Measures it, maybe along with others, which are shared at once as well.
        stores: Where its findings may lie, and where they are kept.

    Raises:
        LinearityError: If config, checkpoint or probes cannot be used, as this process or another
            has found; or if the process that measured was killed.
        RuntimeError: If measuring failed in another process in any other way.
    """
    exchange, cache = stores.exchange, stores.cache
    findings = exchange.get(key)
    if findings is not None:
        return findings
    with exchange.lock(key):
        findings = exchange.get(key)  # another process may have measured it in the meantime
        if findings is not None:
            return findings
        outcomes: Mapping[RunKey, Outcome] = {}
        try:
            findings = cache.get(key)
            outcomes = measure() if findings is None else {key: findings}
            if findings is None:
                _keep(outcomes, cache)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a timeout that pytest raises is no Exception
            exchange.fail(key, error)
            raise
        else:
            _keep({key: outcomes[key]}, exchange)
        finally:
            with suppress(Exception):  # it is told where that run is asked for
                _keep({other: outcomes[other] for other in outcomes if other != key}, exchange)
    return _findings_in(outcomes[key])


def _keep(outcomes: Mapping[RunKey, Outcome], store: Store) -> None:
    for key, outcome in outcomes.items():
        if isinstance(outcome, Exception):
            store.fail(key, outcome)
        else:
            store.put(key, outcome)


def _findings_in(outcome: Outcome) -> Findings:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
