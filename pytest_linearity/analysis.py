"""One checkpoint, measured: config -> checkpoint, probes, directions -> measurement -> report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_linearity.checkpoint import (
    Checkpoint,
    OpenedCheckpoint,
    load_checkpoint,
    open_checkpoint,
)
from pytest_linearity.config import Config
from pytest_linearity.directions import Directions
from pytest_linearity.environment import peak_memory, resolve_device, versions
from pytest_linearity.errors import ConfigError, LinearityError, MeasurementError
from pytest_linearity.findings import Findings
from pytest_linearity.logits import last_token_logits
from pytest_linearity.measurement import Measurement, measure
from pytest_linearity.padding import sees_padding
from pytest_linearity.passes import Progress
from pytest_linearity.probes import Batch, Probes, load_probes
from pytest_linearity.radius_unit import absolute_radii, in_unit
from pytest_linearity.report.document import Report
from pytest_linearity.scope.structure import transformer_blocks
from pytest_linearity.vectors import vectors_of
from pytest_linearity.verdict import judge, limits_of

if TYPE_CHECKING:
    from torch.nn import Module


def analyze(config: Config, *, progress: Progress | None = None) -> Report:
    """Measure the checkpoint of a config, as the gate does, without judging the run.

    Args:
        config: What to measure.
        progress: Told (done, total) as evaluations finish.

    Raises:
        LinearityError: If the config, the checkpoint or the probes cannot be used.
    """
    return Analysis(config, progress=progress).report


class Analysis:
    """The parts of one run, each made once, when it is first asked for."""

    def __init__(self, config: Config, *, progress: Progress | None = None) -> None:
        """Nothing is loaded yet."""
        self.config = config
        self._progress = progress
        self._seconds = 0.0

    @cached_property
    def opened(self) -> OpenedCheckpoint:
        """The checkpoint's files and tokenizer."""
        return open_checkpoint(self.config)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The loaded checkpoint."""
        return load_checkpoint(self.config, self.opened)

    @cached_property
    def probes(self) -> Probes:
        """The tokenised prompts; no weights are read for them."""
        opened = self.opened
        return load_probes(self.config, opened.tokenizer, max_length=opened.max_length)

    @cached_property
    def directions(self) -> Directions:
        """The directions of the config's kinds and scope."""
        config, model = self.config, self.checkpoint.model
        with _readable_failure(self.checkpoint.architecture):
            vectors = vectors_of(config, model, self._prompts, resolve_device(config.device))
            return Directions(
                model,
                config.num_directions,
                config.seed,
                config.param_scope,
                kinds=config.directions,
                vectors=vectors,
            )

    @cached_property
    def measurement(self) -> Measurement:
        """The figures of every (radius, direction, prompt)."""
        config, model = self.config, self.checkpoint.model
        device = resolve_device(config.device)
        started = time.perf_counter()
        batches = self.batches
        with _readable_failure(self.checkpoint.architecture):
            measured = measure(
                model,
                [last_token_logits(model, batch, device) for batch in batches],
                self.directions,
                self._absolute_radii,
                config.precision,
                device=device,
                calibration=last_token_logits(model, _small_part(batches[0]), device),
                limits=limits_of(config),
                metrics=config.chosen_metrics,
                progress=self._progress,
                second_order=config.second_order,
                blocks=self._blocks() if config.layer_profile else None,
                refined=config.refine,
            )
        self._seconds = time.perf_counter() - started
        ordered = _in_order(measured, [row for batch in batches for row in batch.rows])
        return in_unit(ordered, config.radii)

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The prompts as they are measured: padded, unless the architecture looks at padding."""
        probes = self.probes
        if all(bool(batch.attention_mask.all()) for batch in probes.batches):
            return probes.batches
        prompt = _small_part(probes.batches[0])
        device = resolve_device(self.config.device)
        sees = sees_padding(self.checkpoint.model, prompt, probes.pad_id, self.directions, device)
        return probes.unpadded if sees else probes.batches

    @cached_property
    def findings(self) -> Findings:
        """All that was found out."""
        measured = self.measurement
        return Findings(
            measurement=measured,
            checkpoint=self.checkpoint.describe(),
            probes=self.probes.describe(),
            scope=self.directions.describe(),
            environment=self._environment(),
        )

    @cached_property
    def report(self) -> Report:
        """The figures per radius, held against the limits."""
        return judge(self.findings, self.config)

    @property
    def _absolute_radii(self) -> list[float]:
        config = self.config
        return absolute_radii(config.radii, config.radius_unit, self.directions.norm)

    def _blocks(self) -> dict[str, Module]:
        """The decoder's blocks by name, each as the last of the modules that make it up."""
        model = self.checkpoint.model
        blocks = {parts[-1]: model.get_submodule(parts[-1]) for parts in transformer_blocks(model)}
        if not blocks:
            raise ConfigError(
                f"layer_profile: {self.checkpoint.architecture} has no repeated blocks to look at"
            )
        return blocks

    def _prompts(self) -> list[tuple[int, ...]]:
        return [probe.token_ids for probe in self.probes.probes]

    def _environment(self) -> dict[str, Any]:
        return {
            **versions(),
            "device": str(resolve_device(self.config.device)),
            "precision": sorted(set(self.measurement.precision)),
            "jvp_method": self.measurement.jvp_method,
            "padded_batches": self.batches is self.probes.batches,
            "no_forward_mode": self.measurement.no_forward_mode,
            "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "reused": False,
            "seconds": round(self._seconds, 3),
            "peak_memory_bytes": peak_memory(),
        }


@contextmanager
def _readable_failure(architecture: str) -> Iterator[None]:
    """One line for a model that cannot be run on token ids alone; the cause stays attached."""
    try:
        yield
    except LinearityError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise MeasurementError(
            f"{architecture} cannot be evaluated on these prompts: {type(error).__name__}: {first}"
        ) from error


_CALIBRATION_TOKENS = 16
"""Rounding hardly depends on the length of a prompt, and the cost of calibration does."""


def _small_part(batch: Batch) -> Batch:
    """The start of the first and shortest prompt of a batch."""
    length = min(int(batch.last[0]) + 1, _CALIBRATION_TOKENS)
    return Batch(
        input_ids=batch.input_ids[:1, :length],
        attention_mask=batch.attention_mask[:1, :length],
        last=batch.last[:1].clamp(max=length - 1),
        rows=batch.rows[:1],
    )


def _in_order(measured: Measurement, rows: list[int]) -> Measurement:
    """The measurement with prompts in the order of the probes instead of the batches."""
    import torch

    places = torch.tensor(rows).argsort()
    curvature, layers = measured.curvature_ratio, measured.layers
    return replace(
        measured,
        relative_error=measured.relative_error[..., places],
        cosine_similarity=measured.cosine_similarity[..., places],
        curvature_ratio=None if curvature is None else curvature[..., places],
        layers=None
        if layers is None
        else replace(
            layers,
            relative_error=layers.relative_error[..., places],
            cosine_similarity=layers.cosine_similarity[..., places],
        ),
        metrics={name: values[..., places] for name, values in measured.metrics.items()},
        metric_noise={name: noise[..., places] for name, noise in measured.metric_noise.items()},
    )
