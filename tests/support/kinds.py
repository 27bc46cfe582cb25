"""Findings and reports along several kinds of directions, whose figures a test writes down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pytest_linearity.config.config import Config
from pytest_linearity.numerics.measurement.measurement import (
    KindFacts,
    LayerProfile,
    Measurement,
    Refinement,
)
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.findings import Findings
from pytest_linearity.verdict.judge import judge

Errors = Mapping[float, Sequence[Sequence[float]]]
"""Relative errors by radius, [directions, prompts]."""


def measurement(
    errors: Mapping[str, Errors],
    *,
    floors: Mapping[str, float] | None = None,
    still: Sequence[str] = (),
    kappa: Mapping[str, float] | None = None,
    blocks: int = 0,
    refined: Mapping[str, tuple[float, float]] | None = None,
) -> Measurement:
    """What measuring would have come to; c = 1 − ε / 10.

    Args:
        errors: Of each kind at its own radii.
        floors: Noise floor of each kind; 1e-6 where it is left out.
        still: Kinds along which no logit moves.
        kappa: Curvature ratio of each kind, if it is measured.
        blocks: Of the layer profile; the error after block b of B is b / B of the last.
        refined: Ends of the crossing of each kind that has one.
    """
    radii = sorted({radius for of_kind in errors.values() for radius in of_kind})
    counts = {kind: len(next(iter(of_kind.values()))) for kind, of_kind in errors.items()}
    prompts = len(next(iter(next(iter(errors.values())).values()))[0])
    table = [
        [
            row
            for kind, of_kind in errors.items()
            for row in of_kind.get(radius, [[math.nan] * prompts] * counts[kind])
        ]
        for radius in radii
    ]
    error = torch.tensor(table, dtype=torch.float64)
    floor = {kind: (floors or {}).get(kind, 1e-6) for kind in errors}
    facts = {
        kind: KindFacts(
            radii=tuple(sorted(of_kind)),
            noise_floor=(floor[kind],) * len(of_kind),
            routing_flips=None,
            still=(kind in still,) * len(of_kind),
            refinement=Refinement(*refined[kind], ()) if refined and kind in refined else None,
        )
        for kind, of_kind in errors.items()
    }
    kinds = tuple(kind for kind, count in counts.items() for _ in range(count))
    shares = torch.arange(1, blocks + 1, dtype=torch.float64) / max(blocks, 1)
    layers = error[:, None] * shares[:, None, None]
    return Measurement(
        radii=tuple(radii),
        figures={"relative_error": error, "cosine_similarity": 1 - error / 10},
        precision=("float32",) * len(radii),
        noise_floor=(1e-6,) * len(radii),
        jvp_method="forward-mode",
        no_forward_mode=None,
        routing_flips=None,
        curvature_ratio=torch.tensor([[kappa[k]] * prompts for k in kinds], dtype=torch.float64)
        if kappa
        else None,
        layers=LayerProfile(tuple(f"block.{b}" for b in range(blocks)), layers, 1 - layers / 10)
        if blocks
        else None,
        kinds=kinds,
        directions=tuple(range(len(kinds))),
        still=(False,) * len(radii),
        by_kind=facts if len(facts) > 1 else {},
    )


def report(
    errors: Mapping[str, Errors],
    *,
    vectors: Mapping[str, Mapping[str, Any]] | None = None,
    path: str = "saves/run/checkpoint-500",
    keys: Mapping[str, Any] | None = None,
    **measured: Any,
) -> Report:
    """The report on such a measurement.

    Args:
        errors: Of each kind at its own radii.
        vectors: What is known of the vector of a kind, as its norm.
        path: Of the checkpoint.
        keys: Of the config, besides kinds and radii.
        measured: What else is measured.
    """
    return judge(findings(errors, vectors, path, **measured), config_of(errors, **(keys or {})))


def config_of(errors: Mapping[str, Errors], **keys: Any) -> Config:
    """The config that asks for these kinds and radii."""
    radii = {kind: sorted(of_kind) for kind, of_kind in errors.items()}
    same = len({*map(tuple, radii.values())}) == 1
    return Config(
        model_name_or_path="checkpoint",
        base_model_name_or_path="base",
        **{
            "directions": list(errors),
            "radii": next(iter(radii.values())) if same else radii,
            "num_directions": max(len(next(iter(e.values()))) for e in errors.values()),
            **keys,
        },
    )


def findings(
    errors: Mapping[str, Errors],
    vectors: Mapping[str, Mapping[str, Any]] | None = None,
    path: str = "saves/run/checkpoint-500",
    **measured: Any,
) -> Findings:
    """What was found out of such a measurement."""
    kinds = [
        {"kind": kind, "count": len(next(iter(of_kind.values()))), **(vectors or {}).get(kind, {})}
        for kind, of_kind in errors.items()
    ]
    return Findings(
        measurement=measurement(errors, **measured),
        checkpoint={
            "path": path,
            "architecture": "LlamaForCausalLM",
            "parameters": 743808,
            "dtype": "bfloat16",
        },
        probes={"summary": "2 prompts", "digest": "tokens", "template": "qwen", "rows": []},
        scope={
            "param_scope": "full",
            "parameters": 743808,
            "digest": "shapes",
            "directions": {"kind": "two", "count": len(kinds), "seed": 42, "kinds": kinds},
        },
        environment={},
    )
