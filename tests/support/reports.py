"""Builders of reports with figures that a test can choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pytest_linearity.config.config import Config
from pytest_linearity.report.results import Result
from pytest_linearity.verdict.document import RadiusFigures, Report
from pytest_linearity.verdict.regression.compare import RadiusRegression, Regression
from tests.support.figures import radius_figures

HOSTILE = "a/<script>alert(1)</script>|`b`*c*_d_$x_1$[e](f)&amp;\\\"'"
"""A path that means something to HTML, Markdown and mathematics."""


def report(
    radii: Sequence[float] = (0.1, 0.3, 1.0),
    slope: float = 0.31,
    *,
    path: str = "saves/run/checkpoint-500",
    undefined: Collection[float] = (),
    noise: float | None = 1e-6,
    **config: Any,
) -> Report:
    """A report whose relative error is `slope` times the radius.

    With the defaults 0.1 and 0.3 comply, and 1.0 does not.
    """
    asked = Config(model_name_or_path=path, **config)
    limits = {"relative_error": asked.relerr_threshold, "cosine_similarity": asked.cos_threshold}
    figures = tuple(
        _undefined(radius, limits)
        if radius in undefined
        else _figures(radius, slope * radius, noise, limits)
        for radius in radii
    )
    return Report(
        config=asked.to_dict(),
        checkpoint={
            "path": path,
            "architecture": "LlamaForCausalLM",
            "parameters": 743808,
            "dtype": "bfloat16",
        },
        radii=figures,
        linearity_radius=max((f.radius for f in figures if f.complies), default=None),
        passed=all(f.complies for f in figures),
        probes={"summary": "2 prompts"},
    )


def _figures(
    radius: float, error: float, noise: float | None, limits: Mapping[str, float]
) -> RadiusFigures:
    cosine = max(1 - 0.7 * error * error, -0.2)
    complies = error <= 0.2 and cosine >= 0.95
    return radius_figures(
        radius,
        (error, 0.6 * error),
        (cosine, 1.4 * (1 - cosine)),
        noise,
        complies=complies,
        reason=None if complies else f"mean relative error {error:.2f} > 0.20",
        limits=limits,
    )


def _undefined(radius: float, limits: Mapping[str, float]) -> RadiusFigures:
    reason = "logits are not finite in 1 of 4 (direction, prompt) pairs"
    return radius_figures(radius, complies=False, reason=reason, limits=limits)


def measured(*, name: str = "gate.yaml", label: str | None = None, **of_report: Any) -> Result:
    """A checkpoint that is the only one of its config."""
    return Result(name, label, None, report(**of_report))


def series(
    steps: Sequence[int] = (100, 200, 300), *, name: str = "gate.yaml", **of_report: Any
) -> list[Result]:
    """Checkpoints of one config; the error of each is larger by a third than the one before."""
    return [
        Result(
            name,
            f"checkpoint-{step}",
            step,
            report(slope=0.12 * 1.34**k, path=f"saves/run/checkpoint-{step}", **of_report),
        )
        for k, step in enumerate(steps)
    ]


def regressed(result: Result) -> Result:
    """The result with a baseline that it is worse than."""
    entries = (
        RadiusRegression(0.1, "no worse", 0.031, 0.030, (-0.01, 0.02), 8, 0),
        RadiusRegression(1.0, "regressed", 0.22, 0.31, (0.05, 0.13), 8, 0, "it grew 41%"),
    )
    regression = Regression(
        radii=entries,
        baseline_radius=1.0,
        linearity_radius=0.3,
        rejudged=False,
        max_regression=0.1,
    )
    return dataclasses.replace(result, regression=regression)
