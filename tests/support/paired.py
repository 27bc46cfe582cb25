"""Reports whose relative errors a test writes down, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_linearity.config.config import Config
from pytest_linearity.verdict.document import RadiusFigures, Report
from tests.support.figures import radius_figures

Errors = Sequence[Sequence[float | None]]
"""Relative errors of one radius, [directions, prompts]; None where not finite."""


def report(
    errors: Mapping[float, Errors],
    *,
    noise_floor: float | None = 1e-9,
    probes: Mapping[str, Any] | None = None,
    scope: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Report:
    """A report of these relative errors; every cosine similarity is 0.99.

    Args:
        errors: By radius.
        noise_floor: Of every radius.
        probes: What differs from two prompts of a data set.
        scope: What differs from all parameters of a tiny model.
        keys: Of the config.
    """
    directions = len(next(iter(errors.values())))
    config = Config(
        model_name_or_path="checkpoint",
        radii=tuple(errors),
        **{"num_directions": directions, **keys},
    )
    radii = tuple(_figures(radius, errors[radius], noise_floor, config) for radius in config.radii)
    rows = [{"dataset": "d", "row": i, "tokens": 4, "hash": f"hash{i}"} for i in range(2)]
    kind = "uniform on the unit sphere"
    return Report(
        config=config.to_dict(),
        checkpoint={
            "path": "checkpoint",
            "architecture": "LlamaForCausalLM",
            "parameters": 743808,
            "dtype": "bfloat16",
        },
        radii=radii,
        linearity_radius=max((f.radius for f in radii if f.complies), default=None),
        passed=all(figures.complies for figures in radii),
        probes={"summary": "2 prompts", "digest": "tokens", "rows": rows, **(probes or {})},
        scope={
            "param_scope": config.param_scope,
            "tensors": 3,
            "parameters": 743808,
            "digest": "shapes",
            "directions": {"kind": kind, "count": directions, "seed": config.seed},
            **(scope or {}),
        },
        environment={"precision": ["float32"], "seconds": 1.5, "jvp_method": "forward-mode"},
        pairs={
            str(radius): {
                "relative_error": [list(row) for row in errors[radius]],
                "cosine_similarity": [[0.99 for _ in row] for row in errors[radius]],
            }
            for radius in config.radii
        },
    )


def _figures(
    radius: float, errors: Errors, noise_floor: float | None, config: Config
) -> RadiusFigures:
    flat = [math.nan if error is None else error for row in errors for error in row]
    mean = sum(flat) / len(flat)
    limit = config.relerr_threshold
    reason = None
    if math.isnan(mean):
        reason = "logits are not finite"
    elif mean > limit:
        reason = f"mean relative error {mean:.2f} > {limit:.2f}"
    defined = None if math.isnan(mean) else mean
    return radius_figures(
        radius,
        (defined, None if defined is None else 0.01),
        (0.99, 0.0),
        noise_floor,
        complies=reason is None,
        reason=reason,
        limits={"relative_error": limit, "cosine_similarity": config.cos_threshold},
    )
