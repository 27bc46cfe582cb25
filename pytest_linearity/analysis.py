"""One checkpoint, measured: config -> checkpoint, probes, directions -> measurement -> report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from pytest_linearity.checkpoint import Checkpoint, load_checkpoint
from pytest_linearity.config import Config
from pytest_linearity.directions import Directions
from pytest_linearity.environment import peak_memory, resolve_device, versions
from pytest_linearity.errors import LinearityError, MeasurementError
from pytest_linearity.logits import last_token_logits
from pytest_linearity.measurement import Measurement, measure
from pytest_linearity.padding import sees_padding
from pytest_linearity.passes import Progress
from pytest_linearity.probes import Batch, Probes, load_probes
from pytest_linearity.report.document import RadiusFigures, Report
from pytest_linearity.verdict import Limits, judge_radius, linearity_radius, passes


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
    def checkpoint(self) -> Checkpoint:
        """The loaded checkpoint."""
        return load_checkpoint(self.config)

    @cached_property
    def probes(self) -> Probes:
        """The tokenised prompts."""
        checkpoint = self.checkpoint
        return load_probes(self.config, checkpoint.tokenizer, max_length=checkpoint.max_length)

    @cached_property
    def directions(self) -> Directions:
        """The directions of the config's scope."""
        config = self.config
        return Directions(
            self.checkpoint.model, config.num_directions, config.seed, config.param_scope
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
                config.radii,
                config.precision,
                device=device,
                calibration=last_token_logits(model, _small_part(batches[0]), device),
                limits=self._limits,
                progress=self._progress,
            )
        self._seconds = time.perf_counter() - started
        return _in_order(measured, [row for batch in batches for row in batch.rows])

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

    @property
    def _limits(self) -> Limits:
        return Limits(self.config.relerr_threshold, self.config.cos_threshold)

    @cached_property
    def report(self) -> Report:
        """The figures per radius, held against the limits."""
        config = self.config
        radii = self._judged()
        return Report(
            config=config.to_dict(),
            checkpoint=self.checkpoint.describe(),
            radii=radii,
            linearity_radius=linearity_radius(radii),
            passed=passes(radii, config.min_linearity_radius),
            probes=self.probes.describe(),
            scope={
                "param_scope": config.param_scope,
                "tensors": len(self.directions.names),
                "parameters": self.directions.parameters,
            },
            environment=self._environment(),
        )

    def _judged(self) -> tuple[RadiusFigures, ...]:
        measured = self.measurement
        flips = measured.routing_flips
        return tuple(
            judge_radius(
                radius,
                measured.relative_error[i],
                measured.cosine_similarity[i],
                self._limits,
                noise_floor=measured.noise_floor[i],
                precision=measured.precision[i],
                routing_flips=None if flips is None else flips[i],
            )
            for i, radius in enumerate(measured.radii)
        )

    def _environment(self) -> dict[str, Any]:
        return {
            **versions(),
            "device": str(resolve_device(self.config.device)),
            "precision": sorted(set(self.measurement.precision)),
            "jvp_method": self.measurement.jvp_method,
            "padded_batches": self.batches is self.probes.batches,
            "no_forward_mode": self.measurement.no_forward_mode,
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
    return replace(
        measured,
        relative_error=measured.relative_error[..., places],
        cosine_similarity=measured.cosine_similarity[..., places],
    )
