"""What a run will take, before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_linearity.plan.forecast import Case, Plan, Planner
from pytest_linearity.plan.model import planned_model
from pytest_linearity.plan.workload import workload_of

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config

__all__ = ["Case", "Plan", "plan_of"]


def plan_of(
    config: Config,
    *,
    ranks: int = 1,
    prompts: int | None = None,
    tokens: int | None = None,
    timed: bool = True,
) -> Plan:
    """The plan of a run; of the checkpoint, only its config and the headers of its files are read.

    Args:
        config: What to measure; names one checkpoint, or a model's `config.json` alone.
        ranks: How many processes are to share the directions.
        prompts: Assume so many prompts instead of reading the config's.
        tokens: Assume so many tokens for each of them.
        timed: Whether this machine's rates are measured, which takes some seconds.

    Raises:
        LinearityError: If config, model or prompts cannot be used.
    """
    from pytest_linearity.checkpoint.declared import max_length
    from pytest_linearity.probes.shared_prefix import why_no_cache
    from pytest_linearity.run.environment import private_memory, resolve_device

    subject = planned_model(config)
    workload = workload_of(
        config,
        subject.place,
        longest=max_length(subject.declared),
        shares=why_no_cache(subject.model) is None,
        prompts=prompts,
        tokens=tokens,
    )
    planner = Planner(
        config,
        subject,
        workload,
        ranks=ranks,
        device=resolve_device(config.device),
        base=private_memory() or 0,
    )
    return planner.plan(timed=timed)
