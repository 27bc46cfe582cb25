"""A stand-in for the analysis in processes of their own, where nothing can be monkeypatched."""

from __future__ import annotations

FAKE = """
import os
import sys
import time
import types
from dataclasses import make_dataclass
from pathlib import Path

import numpy
from pytest_linearity.errors import CheckpointError
from pytest_linearity.run.store import findings_file
from pytest_linearity.verdict.findings import Findings
from pytest_linearity.verdict.document import RadiusFigures, Report

ERRORS = {0.1: 0.02, 0.3: 0.06, 1.0: 0.31}
FIELDS = [("radii", tuple[float, ...]), ("figures", dict[str, numpy.ndarray])]
Measurement = make_dataclass("Measurement", FIELDS)

def pytest_runtest_setup(item):
    Path(f"worker-{os.getpid()}").touch()

def await_others():
    # So that the other worker asks for what this one is measuring.
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    deadline = time.monotonic() + 10
    while len(list(Path().glob("worker-*"))) < workers and time.monotonic() < deadline:
        time.sleep(0.02)
    if workers > 1:
        time.sleep(0.3)

class Described:
    def describe(self):
        return {}

class Analysis:
    directions = Described()
    subject = types.SimpleNamespace(probes=Described())

    def __init__(self, config, *, progress, **_):
        self.config, self.progress = config, progress

    @property
    def findings(self):
        print("a library talks")
        name = self.config.checkpoint
        Path(f"measured-{Path(name).name}-{os.getpid()}").touch(exist_ok=False)
        if "broken" in name:
            raise CheckpointError(f"{name}: it is broken")
        if "buggy" in name:
            raise ValueError("shapes do not match")
        if "deadly" in name:
            os.kill(os.getpid(), 9)
        while "endless" in name:
            time.sleep(0.05)
        if "one" in name:
            await_others()
        self.progress(1, 2)
        self.progress(2, 2)
        radii = self.config.radii
        errors = numpy.array([[[ERRORS[radius]]] for radius in radii])
        checkpoint = {"path": name, "architecture": "y", "parameters": 1, "dtype": "float32"}
        figures = {"relative_error": errors, "cosine_similarity": 1 - errors / 10}
        return Findings(Measurement(radii, figures), checkpoint, {}, {}, {})

def judged(radius, error, cosine, limit):
    complies = bool(error <= limit)
    reason = None if complies else f"mean relative error {error:.2f} > {limit:.2f}"
    figures = {
        "mean_relative_error": error,
        "std_relative_error": 0.0,
        "mean_cosine_similarity": cosine,
        "std_cosine_similarity": 0.0,
        "noise_floor": None,
        "precision": "float32",
        "complies": complies,
        "reason": reason,
    }
    limits = {"relative_error": limit, "cosine_similarity": 0.95}
    return RadiusFigures.from_dict(radius, figures, limits)

def judge(findings, config):
    measured, limit = findings.measurement, config.relerr_threshold
    radii = tuple(
        judged(radius, float(error.mean()), float(cosine.mean()), limit)
        for radius, error, cosine in zip(measured.radii, *measured.figures.values())
    )
    reached = max((figures.radius for figures in radii if figures.complies), default=None)
    passed = all(figures.complies for figures in radii)
    pairs = {
        str(radius): {"relative_error": error.tolist(), "cosine_similarity": cosine.tolist()}
        for radius, error, cosine in zip(measured.radii, *measured.figures.values())
    }
    return Report(config.to_dict(), findings.checkpoint, radii, reached, passed, pairs=pairs)

def module(name, **names):
    sys.modules[f"pytest_linearity.{name}"] = types.SimpleNamespace(**names)

# Nothing of this imports torch, which takes seconds in each of three processes.
module("run.analysis", Analysis=Analysis)
module("numerics.measurement.measurement", Measurement=Measurement)
module("verdict.judge", judge=judge)
findings_file._tensor = numpy.array
"""
"""For a `conftest.py`. The name of the checkpoint says what becomes of it; a file per measuring
process is left behind."""

HOOK = """
import pytest
from pytest_linearity import Metric

def largest(change, predicted, baseline):
    return (change - predicted).abs().amax(-1)

def pytest_linearity_metrics(config):
    assert isinstance(config, pytest.Config)
    return [Metric("largest_error", "largest error", "max |Δ_true − Δ_pred|", largest)]
"""
"""For a `conftest.py`: a metric of the project's own."""
