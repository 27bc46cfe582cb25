"""What a run found, as the reports for people take it: a result per checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_linearity.verdict.document import Report
    from pytest_linearity.verdict.regression.compare import Regression


@dataclass(frozen=True)
class Result:
    """One checkpoint with its figures: what the reports for people are made of.

    Several checkpoints or scopes of a config are a sequence of them; Markdown, web page, tables and
    plots over steps take such a sequence.
    """

    name: str
    """How its config is called wherever it is shown, as ``gate.yaml``."""
    label: str | None
    """Which checkpoint of that config it is; ``None`` where the config names only one."""
    step: int | None
    """The training step it was saved at, where that is known."""
    report: Report
    """Its figures."""
    regression: Regression | None = None
    """How it compares with a baseline; ``None`` without one."""
    scope: str | None = None
    """Which scope of that config it is; ``None`` where the config names only one."""

    @property
    def title(self) -> str:
        """Config, checkpoint and scope, as a heading."""
        return title(self.name, self.label, self.scope)

    @property
    def short(self) -> str:
        """What tells it from the others of its config."""
        return _joined(self.label, self.scope) or self.name

    @property
    def scope_name(self) -> str:
        """The scope as the config has it; a label may lack signs of a regular expression."""
        name: str = self.report.config.get("param_scope") or self.short
        return name

    @property
    def passed(self) -> bool:
        """Whether it keeps its limits, and is no worse than its baseline."""
        return self.report.passed and (self.regression is None or self.regression.passed)


@dataclass(frozen=True)
class Failure:
    """One checkpoint that could not be measured."""

    name: str
    """How its config is called."""
    label: str | None
    """Which checkpoint of that config it is."""
    reason: str
    """Why, in one line."""
    scope: str | None = None
    """Which scope of that config it is."""

    @property
    def title(self) -> str:
        """Config, checkpoint and scope, as a heading."""
        return title(self.name, self.label, self.scope)


def title(name: str, label: str | None, scope: str | None = None) -> str:
    """Config, checkpoint and scope, as a heading."""
    return f"{name}: {_joined(label, scope)}" if label or scope else name


def _joined(label: str | None, scope: str | None) -> str:
    return ", ".join(part for part in (label, scope) if part is not None)


def by_config(results: Iterable[Result]) -> list[tuple[Result, ...]]:
    """The results of each config together, in the order given; several make a series."""
    return [tuple(group) for _, group in groupby(results, key=lambda result: result.name)]


def series_of(results: Iterable[Result]) -> list[tuple[Result, ...]]:
    """The checkpoints of each config and scope of which more than one was measured."""
    return _grouped(results, lambda result: (result.name, result.scope))


def scopes_of(results: Iterable[Result]) -> list[tuple[Result, ...]]:
    """The scopes of each config and checkpoint of which more than one was measured."""
    return _grouped(results, lambda result: (result.name, result.label))


def _grouped(
    results: Iterable[Result], key: Callable[[Result], object]
) -> list[tuple[Result, ...]]:
    groups: dict[object, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def of_kinds(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results along each kind of directions, as if that had been the only one.

    What has figures of several results side by side shows them kind by kind. A result that lacks a
    kind is left out there. Where all are of the one kind ``gaussian``, its name is left empty.
    """
    from pytest_linearity.verdict.kinds import by_kind

    kinds: dict[str, list[Result]] = {}
    for result in results:
        for kind, report in by_kind(result.report).items():
            regression = result.regression
            if regression is not None:
                regression = regression.by_kind.get(kind, regression)
            of_kind = replace(result, report=report, regression=regression)
            kinds.setdefault(kind, []).append(of_kind)
    return {"": list(results)} if list(kinds) == ["gaussian"] else kinds


def along(heading: str, kind: str) -> str:
    """A heading with the kind of directions that what follows is about, if it is to be named."""
    return f"{heading}, along {kind}" if kind else heading


def scopes_heading(scopes: Sequence[Result]) -> str:
    """What a table or drawing of the scopes of one checkpoint is of."""
    return f"{title(scopes[0].name, scopes[0].label)}: {len(scopes)} scopes"


def counted(number: int, results: Iterable[Result | Failure]) -> str:
    """``3 checkpoints``, or what else it is that there are several of."""
    labels = {(result.name, result.label) for result in results}
    scopes = any(result.scope is not None for result in results)
    noun = "checkpoint" if not scopes else "scope" if len(labels) == 1 else "measurement"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def over_steps(series: Sequence[Result]) -> bool:
    """Whether all training steps are known and distinct, so that they can be an axis."""
    steps = [result.step for result in series]
    return None not in steps and len(set(steps)) == len(steps)


def radii_of(series: Iterable[Result]) -> list[float]:
    """Every radius that any of the checkpoints was tested at, in ascending order."""
    return sorted({figures.radius for result in series for figures in result.report.radii})


def mean_at(result: Result, radius: float, metric: str) -> float | None:
    """The mean of a metric by name; ``None`` where it is not defined or was not measured."""
    for figures in result.report.radii:
        if figures.radius == radius:
            return figures.figures[metric].mean
    return None
