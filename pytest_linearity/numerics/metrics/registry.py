"""Metrics by name: those built in, and those that others add."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeAlias

from pytest_linearity.errors import ConfigError, class_and_lines, shown
from pytest_linearity.numerics.metrics.changes import (
    cosine_similarity,
    relative_error,
    symmetric_relative_error,
    top_k_relative_error,
)
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.predictions import kl_divergence, top1_agreement

MetricSource: TypeAlias = Callable[[], Iterable[Metric]]
"""Gives the metrics that others add."""

GROUP = "pytest_linearity.metrics"
"""Group of entry points, each of which is a `Metric` or a list of them."""

RELATIVE_ERROR = Metric(
    name="relative_error",
    label="relative error",
    about="ε = ‖Δ_true − Δ_pred‖ / ‖Δ_true‖; always measured, its limit is relerr_threshold",
    function=lambda change, predicted, _: relative_error(change, predicted),
)
COSINE_SIMILARITY = Metric(
    name="cosine_similarity",
    label="cosine similarity",
    about="c = cos(Δ_true, Δ_pred), from -1 to 1; always measured, its limit is cos_threshold",
    function=lambda change, predicted, _: cosine_similarity(change, predicted),
    good="larger",
)
ALWAYS: Mapping[str, Metric] = {
    metric.name: metric for metric in (RELATIVE_ERROR, COSINE_SIMILARITY)
}
"""What every measurement has, by name and in the order in which it is shown."""
LIMIT_KEYS = {"relative_error": "relerr_threshold", "cosine_similarity": "cos_threshold"}
"""The keys of a config that set their limits; those of further metrics are in `limits`."""

_FIXED = (
    RELATIVE_ERROR,
    COSINE_SIMILARITY,
    Metric(
        name="kl",
        label="kl",
        about="D(p_true ‖ p_pred) = Σ p_true (log p_true − log p_pred) of the next token, in nats "
        "(Kullback and Leibler, On information and sufficiency, 1951)",
        function=kl_divergence,
    ),
    Metric(
        name="top1_agreement",
        label="top-1 agreement",
        about="1 where argmax f(θ* + rδ) = argmax (f(θ*) + r · J δ), else 0",
        function=top1_agreement,
        good="larger",
    ),
    Metric(
        name="symmetric_relative_error",
        label="symmetric relative error",
        about="2 ‖Δ_true − Δ_pred‖ / (‖Δ_true‖ + ‖Δ_pred‖), from 0 to 2",
        function=lambda change, predicted, _: symmetric_relative_error(change, predicted),
    ),
)
_BUILT_IN = {metric.name: metric for metric in _FIXED}
_TOP_K = re.compile(r"top_([1-9]\d{0,8})_relative_error", re.ASCII)
_EXAMPLE = "top_10_relative_error"
_KNOWN = (*_BUILT_IN, f"top_<k>_relative_error (as {_EXAMPLE})")


def find_metric(name: str, source: MetricSource | None = None) -> Metric:
    """The metric of a name, as configs have it.

    Built in are ``relative_error``, ``cosine_similarity``, ``kl``, ``top1_agreement``,
    ``symmetric_relative_error`` and ``top_<k>_relative_error`` for any k; installed packages add
    others. `measure` takes what this returns: ``measure(…, metrics=[find_metric("kl")])``.

    Args:
        name: A name, as ``kl`` or ``top_10_relative_error``.
        source: What is asked for metrics where none of that name is built in; those of installed
            packages when not given.

    Raises:
        ValueError: If there is none; the message lists those that there are.
        ConfigError: If a metric that others add cannot be used.

    Example:
        >>> find_metric("kl").good
        'smaller'
    """
    metric = built_in(name)
    if metric is not None:
        return metric
    others = _by_name((source or installed_metrics)())
    if name in others:
        return others[name]
    raise ValueError(f"{shown(name)} is not a metric; known are {', '.join([*_KNOWN, *others])}")


def built_in(name: str) -> Metric | None:
    """The built-in metric of a name; None where there is none."""
    top_k = _TOP_K.fullmatch(name)
    if top_k is None:
        return _BUILT_IN.get(name)
    k = int(top_k[1])
    return Metric(
        name=name,
        label=f"top-{k} relative error",
        about=f"relative error on the {k} logits that are largest at θ*, or any other number",
        function=top_k_relative_error(k),
    )


def known_metrics() -> tuple[Metric, ...]:
    """Those built in, one of each kind, and those of installed packages.

    Raises:
        ConfigError: If a metric that others add cannot be used.
    """
    example = built_in(_EXAMPLE)
    assert example is not None
    return (*_FIXED, example, *_by_name(installed_metrics()).values())


def choose(names: Iterable[str], source: MetricSource | None = None) -> tuple[Metric, ...]:
    """The metrics of some names, each once, without those that every measurement has.

    Args:
        names: Names of metrics.
        source: As `find_metric` takes it.

    Raises:
        ValueError: If there is no metric of a name.
        ConfigError: If a metric that others add cannot be used.
    """
    once = dict.fromkeys(name for name in names if name not in ALWAYS)
    return tuple(find_metric(name, source) for name in once)


def metrics_among(value: Any, where: str) -> tuple[Metric, ...]:
    """What a hook or an entry point gives: a metric, or several.

    Args:
        value: What it gives.
        where: What a message calls it.

    Raises:
        ConfigError: If it gives anything else.
    """
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    for entry in entries:
        if not isinstance(entry, Metric):
            raise ConfigError(f"{where}: {shown(entry)} is not a pytest_linearity.Metric")
    return tuple(entries)


def installed_metrics() -> tuple[Metric, ...]:
    """The metrics that installed packages declare as entry points.

    Raises:
        ConfigError: If an entry point cannot be loaded, or is no metric.
    """
    metrics: list[Metric] = []
    for entry in entry_points(group=GROUP):
        where = f"entry point {entry.name} = {entry.value} of {GROUP}"
        try:
            loaded = entry.load()
        except Exception as error:  # importing a package may raise anything
            raise ConfigError(f"{where}: cannot be loaded: {class_and_lines(error)}") from None
        metrics += metrics_among(loaded, where)
    return tuple(metrics)


def _by_name(metrics: Iterable[Metric]) -> Mapping[str, Metric]:
    by_name: dict[str, Metric] = {}
    for metric in metrics:
        if built_in(metric.name) is not None:
            raise ConfigError(f"metric {metric.name}: the name is that of a built-in metric")
        if by_name.setdefault(metric.name, metric) != metric:
            raise ConfigError(f"metric {metric.name}: two different metrics have this name")
    return by_name
