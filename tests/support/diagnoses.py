"""A measurement and a report with second derivatives, layers and a refined radius."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from pytest_linearity.config.config import Config
from pytest_linearity.numerics.measurement.measurement import LayerProfile, Measurement, Refinement
from pytest_linearity.verdict.diagnosis import diagnosis
from pytest_linearity.verdict.document import Report
from tests.support import reports

ALL = {"second_order": True, "layer_profile": True, "refine": True}
RADII = (0.1, 0.3, 1.0)
NAMES = ("a.0", "a.1", "a.2", "a.3")


def measurement(slope: float = 0.31, kappa: float = 0.62) -> Measurement:
    """Two directions and one prompt; ε = slope · r, and κ = kappa ± 0.02."""
    per_block = torch.tensor([0.0, 0.1, 0.8, 1.0]).double()
    r = torch.tensor(RADII).double()
    spread = torch.tensor([[-1.0], [1.0]]).double()
    error = (slope * r)[:, None, None] * (1 + 0.1 * spread)
    layers = (slope * r)[:, None, None, None] * per_block[:, None, None] * (1 + 0.1 * spread)
    return Measurement(
        radii=RADII,
        figures={"relative_error": error, "cosine_similarity": 1 - error / 10},
        precision=("float32",) * 3,
        noise_floor=(1e-6,) * 3,
        jvp_method="forward-mode",
        no_forward_mode=None,
        routing_flips=None,
        curvature_ratio=kappa + 0.02 * spread,
        layers=LayerProfile(NAMES, layers, 1 - layers / 10),
        refinement=Refinement(0.63, 0.65, (0.55, 0.65, 0.63)),
    )


def report(slope: float = 0.31, kappa: float = 0.62, **changes: Any) -> Report:
    """What such a measurement is in a report; `changes` are of the config."""
    config = Config(model_name_or_path="x", radii=list(RADII), **{**ALL, **changes})
    base = reports.report(RADII, slope, **ALL)
    return replace(base, **diagnosis(measurement(slope, kappa), config))
