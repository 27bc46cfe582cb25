"""What all tests share: a tiny checkpoint, and a gate whose figures a test writes down itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from checkpoints import tiny_llama

pytest_plugins = ["pytester"]

# Tiny models: threads that wait for each other take far more time than they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Write = Callable[..., Path]
Figures = Mapping[float, tuple[float | None, float | None]]


IMPORTED_ONCE = (
    "datasets",
    "hypothesis",
    "omegaconf",
    "transformers.models.llama.modeling_llama",
    "pytest_linearity.analysis",
    "pytest_linearity.cli",
    "pytest_linearity.hooks",
    "pytest_linearity.report.json",
    "pytest_linearity.report.places",
    "pytest_linearity.report.terminal",
)
"""What a run inside pytester would import, slowly, and forget again."""


@pytest.fixture(scope="session")
def imported() -> None:
    for name in IMPORTED_ONCE:
        import_module(name)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, imported: None) -> Path:
    """A random Llama of two blocks, loaded in a moment; tests must not change it."""
    return tiny_llama(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture
def write_config(pytester: pytest.Pytester, imported: None) -> Write:
    """Writes a config into the directory of `pytester`: name and keys, returns its path."""

    def write(name: str = "gate.yaml", **keys: Any) -> Path:
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        keys.setdefault("model_name_or_path", "checkpoint")
        path.write_text(yaml.safe_dump(keys), encoding="utf-8")
        return path

    return write


@pytest.fixture
def real_config(write_config: Write, tiny_checkpoint: Path) -> Write:
    """Writes a config of the tiny checkpoint, small enough to be measured in a moment."""

    def write(name: str = "gate.yaml", **keys: Any) -> Path:
        small = {
            "model_name_or_path": str(tiny_checkpoint),
            "prompts": ["1+1=", "The sky is"],
            "num_directions": 2,
            "precision": "float32",
            "radii": [0.01, 0.1],
        }
        return write_config(name, **{**small, **keys})

    return write


class FixedAnalysis:
    """Stands in for `Analysis`: the figures are those that a test has written down."""

    figures: ClassVar[Figures] = {}
    error: ClassVar[BaseException | None] = None
    measured: ClassVar[int] = 0

    def __init__(self, config: Any, *, progress: Any = None) -> None:
        self.config = config
        self.progress = progress

    @property
    def measurement(self) -> None:
        type(self).measured += 1
        if self.error is not None:
            raise self.error
        self.progress(1, 1)

    @property
    def report(self) -> Any:
        import torch

        from pytest_linearity.report.document import Report
        from pytest_linearity.verdict import Limits, judge_radius, linearity_radius, passes

        config = self.config
        limits = Limits(config.relerr_threshold, config.cos_threshold)
        nan = float("nan")
        radii = tuple(
            judge_radius(
                radius,
                torch.tensor([nan if error is None else error], dtype=torch.float64),
                torch.tensor([nan if cosine is None else cosine], dtype=torch.float64),
                limits,
                noise_floor=1e-6,
            )
            for radius, (error, cosine) in sorted(self.figures.items())
            if radius in config.radii
        )
        return Report(
            config=config.to_dict(),
            checkpoint={
                "path": config.model_name_or_path,
                "architecture": "LlamaForCausalLM",
                "parameters": 743808,
                "dtype": "bfloat16",
            },
            radii=radii,
            linearity_radius=linearity_radius(radii),
            passed=passes(radii, config.min_linearity_radius),
        )


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch, imported: None) -> type[FixedAnalysis]:
    """Gates of this test have fixed figures (ε, c): set `figures`, or `error`, on what this is."""

    class Fixed(FixedAnalysis):
        figures: ClassVar[Figures] = {0.1: (0.02, 0.999), 0.3: (0.06, 0.99), 1.0: (0.31, 0.96)}

    monkeypatch.setattr("pytest_linearity.analysis.Analysis", Fixed)
    return Fixed
