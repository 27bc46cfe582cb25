"""A gate whose figures a test writes down itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

Figures = Mapping[float, tuple[float | None, float | None]]
"""By radius: relative error and cosine similarity."""


class Described:
    """Stands in for probes and directions: a report keeps what they say of themselves."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts

    def describe(self) -> dict[str, Any]:
        return dict(self._facts)


class FixedAnalysis:
    """Stands in for `Analysis`: the figures are those that a test has written down."""

    figures: ClassVar[Figures] = {}
    error: ClassVar[BaseException | None] = None
    measured: ClassVar[int] = 0
    prompts: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: Any, *, progress: Any = None, **_: Any) -> None:
        self.config = config
        self.progress = progress
        self.subject = SimpleNamespace(probes=Described(self.prompts))
        self.directions = Described({})

    @property
    def findings(self) -> Any:
        type(self).measured += 1
        if self.error is not None:
            raise self.error
        self.progress(1, 1)
        return self.found()

    def found(self) -> Any:
        import torch

        from pytest_linearity.numerics.measurement.measurement import Measurement
        from pytest_linearity.verdict.findings import Findings

        def column(place: int) -> torch.Tensor:
            found = [self.figures[radius][place] for radius in self.config.radii]
            values = [float("nan") if value is None else value for value in found]
            return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)

        radii = self.config.radii
        return Findings(
            measurement=Measurement(
                radii=radii,
                figures={"relative_error": column(0), "cosine_similarity": column(1)},
                precision=("float32",) * len(radii),
                noise_floor=(1e-6,) * len(radii),
                jvp_method="forward-mode",
                no_forward_mode=None,
                routing_flips=None,
            ),
            checkpoint={
                "path": self.config.checkpoint,
                "architecture": "LlamaForCausalLM",
                "parameters": 743808,
                "dtype": "bfloat16",
            },
            probes=self.subject.probes.describe(),
            scope=self.directions.describe(),
            environment={},
        )
