"""Whether two runs are about the same pairs, so that they can be compared pair by pair."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_linearity.config.values import AUTO
from pytest_linearity.errors import ConfigError, shown
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.kinds import directions_of, facts_of, kinds_of

_KEYS = ("param_scope", "seed", "directions", "radius_unit")
"""Keys of the config that say, with the checkpoint's parameters, which directions these are, and
not how many: those that both have can be compared."""

_BEFORE = {"directions": ["gaussian"], "radius_unit": "absolute"}
"""What held before there was a key for it."""


class BaselineMismatch(ConfigError):
    """A baseline of other pairs than this run's; the message names every difference."""


def require_same_keys(config: Mapping[str, Any], baseline: Report, name: str) -> None:
    """Find out, before anything is loaded, that a baseline cannot be compared with.

    Args:
        config: Every key in effect, as `Config.to_dict` gives them.
        baseline: The earlier report.
        name: What a message calls the baseline.

    Raises:
        BaselineMismatch: If the config alone makes other pairs than the baseline's.
    """
    _refuse(_key_differences(config, baseline) + _lack_of_pairs(baseline), name)


def require_same_inputs(
    probes: Mapping[str, Any], scope: Mapping[str, Any], baseline: Report, name: str
) -> None:
    """Find out, before minutes of measuring, that a baseline cannot be compared with.

    Args:
        probes: The prompts, as `Probes.describe` gives them.
        scope: Parameters and directions, as `Directions.describe` gives them.
        baseline: The earlier report.
        name: What a message calls the baseline.

    Raises:
        BaselineMismatch: If these make other pairs than the baseline's.
    """
    _refuse(_input_differences(probes, scope, baseline), name)


def require_same_pairs(report: Report, baseline: Report, name: str) -> None:
    """Find out whether each (direction, prompt) pair is the same in both reports.

    Args:
        report: This run's report.
        baseline: The earlier report.
        name: What a message calls the baseline.

    Raises:
        BaselineMismatch: If the pairs are not the same.
    """
    differences = [
        *_key_differences(report.config, baseline),
        *_input_differences(report.probes, report.scope, baseline),
        *_lack_of_pairs(baseline),
        *_lack_of_pairs(report, "this report"),
    ]
    _refuse(differences or _shape_differences(report, baseline), name)


def _refuse(differences: Sequence[str], name: str) -> None:
    if differences:
        raise BaselineMismatch(
            f"{name}: this baseline is not comparable: {'; '.join(differences)}; "
            "measure the baseline again with this config"
        )


def _key_differences(config: Mapping[str, Any], baseline: Report) -> list[str]:
    values = [(key, _value(config, key), _value(baseline.config, key)) for key in _KEYS]
    if not _is_open(config["radii"]):
        values.append(("radii", _radii(config["radii"]), _tested(baseline)))
    return [_difference(key, now, before) for key, now, before in values if now != before]


def _is_open(radii: Any) -> bool:
    """Whether radii are chosen by measuring, and compared once they are."""
    return AUTO in (radii.values() if isinstance(radii, Mapping) else (radii,))


def _radii(radii: Any) -> Any:
    """Radii as lists of floats, by kind of directions where kinds differ in them."""
    if not isinstance(radii, Mapping):
        return [float(radius) for radius in radii]
    by_kind = {kind: _radii(of_kind) for kind, of_kind in radii.items()}
    first, *others = by_kind.values()
    return by_kind if any(other != first for other in others) else first


def _tested(baseline: Report) -> Any:
    radii = baseline.config.get("radii")
    return _radii(radii) if isinstance(radii, Mapping) else [f.radius for f in baseline.radii]


def _value(config: Mapping[str, Any], key: str) -> Any:
    """What a key says; of files it is the content that matters, which a digest tells."""
    value = config.get(key, _BEFORE.get(key))
    if key == "directions" and isinstance(value, list):
        return [re.sub(r"^(-?file:).*", r"\1…", kind) for kind in map(str, value)]
    return value


def _input_differences(
    probes: Mapping[str, Any], scope: Mapping[str, Any], baseline: Report
) -> list[str]:
    return [
        *_probe_differences(probes, baseline.probes),
        *_scope_differences(scope, baseline.scope),
    ]


def _probe_differences(probes: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[str]:
    if probes.get("digest") == baseline.get("digest"):
        return []
    rows, earlier = _rows(probes), _rows(baseline)
    if len(rows) != len(earlier):
        return [_difference("probes", f"{len(rows)} prompts", f"{len(earlier)} prompts")]
    other = [row for row, before in zip(rows, earlier, strict=True) if row != before]
    first = f" (the first is row {other[0][1]} of {other[0][0]})" if other else ""
    return [f"probes: {len(other)} of {len(rows)} prompts have other tokens{first}"]


def _rows(probes: Mapping[str, Any]) -> list[tuple[Any, Any, Any]]:
    rows = probes.get("rows")
    return [
        (shown(row.get("dataset")), row.get("row"), row.get("hash"))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, Mapping)
    ]


def _scope_differences(scope: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[str]:
    differences = []
    kinds = [directions_of(one).get("kind") for one in (scope, baseline)]
    if kinds[0] != kinds[1]:
        differences.append(_difference("kind of directions", *kinds))
    for (kind, digest), (_, earlier) in zip(_digests(scope), _digests(baseline), strict=False):
        if digest != earlier:
            differences.append(f"directions: {kind} is made of other files than in the baseline")
    # Another `param_scope` has been named already, and always has other parameters.
    same_scope = scope.get("param_scope") == baseline.get("param_scope")
    if same_scope and scope.get("digest") != baseline.get("digest"):
        sizes = [
            f"{one.get('parameters')} in {one.get('tensors')} tensors" for one in (scope, baseline)
        ]
        differences.append(_difference("names or shapes of the parameters in scope", *sizes))
    return differences


def _digests(scope: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Each kind of directions with a digest of the files that it is made of, if there are any."""
    kinds = directions_of(scope).get("kinds")
    return [
        (entry.get("kind"), entry.get("digest"))
        for entry in (kinds if isinstance(kinds, list) else [])
        if isinstance(entry, Mapping)
    ]


def _directions(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    directions = scope.get("directions")
    return directions if isinstance(directions, Mapping) else {}


def _lack_of_pairs(report: Report, name: str = "the baseline") -> list[str]:
    lacking = [
        str(figures.radius)
        for figures in report.radii
        if "relative_error" not in report.pairs.get(str(figures.radius), {})
    ]
    if not lacking:
        return []
    return [f"{name} lacks the figures of single pairs at r={', '.join(lacking)}"]


def _shape_differences(report: Report, baseline: Report) -> list[str]:
    differences = []
    for figures in report.radii:
        key = str(figures.radius)
        now, before = (_prompts(one.pairs[key]["relative_error"]) for one in (report, baseline))
        if now != before:
            differences.append(_difference(f"prompts of a direction at r={key}", now, before))
    for name, one in (("this report", report), ("the baseline", baseline)):
        for figures in one.radii:
            rows = len(one.pairs[str(figures.radius)]["relative_error"])
            declared = _declared(one, figures.radius)
            if declared not in (None, rows):
                differences.append(
                    f"{name} has {rows} directions at r={figures.radius}, not {declared}"
                )
    return differences


def _prompts(rows: Sequence[Sequence[Any]]) -> int:
    return len(rows[0]) if rows else 0


def _difference(what: str, now: object, before: object) -> str:
    values = [value if isinstance(value, str) else shown(value) for value in (now, before)]
    return f"{what}: {values[0]} here, {values[1]} in the baseline"


def _declared(report: Report, radius: float) -> int | None:
    """How many directions a report says it has at a radius; None where it does not say."""
    kinds = report.at(radius).by_kind or kinds_of(report)
    counts = [facts_of(report, kind).get("count") for kind in kinds]
    return None if None in counts else sum(map(int, filter(None, counts)))


def count_of(report: Report) -> int:
    """How many directions a report on one kind of them has figures of."""
    return len(report.pairs[str(report.radii[0].radius)]["relative_error"])


def other_vector(report: Report, baseline: Report, kind: str) -> str | None:
    """That two reports follow different vectors of a kind that is one vector; None if not so.

    Args:
        report: This run's report.
        baseline: The earlier report.
        kind: The kind of directions.
    """
    now, before = facts_of(report, kind), facts_of(baseline, kind)
    if "norm" not in now or "norm" not in before:
        return None
    known = "vector" in now and "vector" in before
    same = now["vector"] == before["vector"] if known else now["norm"] == before["norm"]
    if same:
        return None
    return (
        f"{kind} is another vector than in the baseline (norm {now['norm']:.4g} here, "
        f"{before['norm']:.4g} there)"
    )
