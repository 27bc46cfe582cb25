"""One checkpoint, measured: config -> checkpoint, probes, directions -> measurement -> report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pytest_linearity.checkpoint.load import (
    Checkpoint,
    OpenedCheckpoint,
    load_checkpoint,
    open_checkpoint,
)
from pytest_linearity.config.config import Config
from pytest_linearity.errors import ConfigError, LinearityError, MeasurementError
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.measurement.jobs import Alone, Engine
from pytest_linearity.numerics.measurement.layers import LayerTaps
from pytest_linearity.numerics.measurement.measure import measure_with
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.numerics.measurement.radius_unit import absolute_radii
from pytest_linearity.numerics.measurement.schedule import Progress
from pytest_linearity.numerics.measurement.setup import Setup
from pytest_linearity.numerics.measurement.simultaneous import measure_together, split_progress
from pytest_linearity.numerics.ranks import current, is_single
from pytest_linearity.numerics.scope.structure import transformer_blocks
from pytest_linearity.probes.batches import Batch
from pytest_linearity.probes.load import load_probes
from pytest_linearity.probes.logits import last_token_logits
from pytest_linearity.probes.padding import sees_padding
from pytest_linearity.probes.probe import Probes
from pytest_linearity.probes.shared_prefix import Sharing, share, whole
from pytest_linearity.run.agreement import require_same_on_all_ranks
from pytest_linearity.run.directions import vectors_of
from pytest_linearity.run.environment import peak_memory, resolve_device, versions
from pytest_linearity.run.store.identity import identity
from pytest_linearity.run.store.journal import JournalFolder
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.findings import Findings
from pytest_linearity.verdict.judge import judge
from pytest_linearity.verdict.limits import certainty_of, limits_of
from pytest_linearity.verdict.radius import judge_radii


def analyze(config: Config, *, progress: Progress | None = None) -> Report:
    """Measure the checkpoint of a config, as the gate does, without judging the run.

    Args:
        config: What to measure.
        progress: Told (done, total) as evaluations finish.

    Raises:
        LinearityError: If the config, the checkpoint or the probes cannot be used.
    """
    return Analysis(config, progress=progress).report


T = TypeVar("T")


class _of_the_checkpoint(cached_property[T]):
    """What does not depend on the scope: made once for all scopes of a checkpoint."""

    def __get__(  # type: ignore[override]
        self, analysis: Analysis, owner: type[Analysis] | None = None
    ) -> T:
        """That of the analysis it is shared with, or else one's own."""
        if analysis.beside is not None:
            found: T = getattr(analysis.beside, str(self.attrname))
            return found
        return super().__get__(analysis, owner)


class Analysis:
    """The parts of one run, each made once, when it is first asked for."""

    def __init__(
        self,
        config: Config,
        *,
        progress: Progress | None = None,
        beside: Analysis | None = None,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            config: What to measure.
            progress: Told (done, total) as evaluations finish.
            beside: The analysis of another scope of this config, to share checkpoint and probes.
        """
        self.config = config
        self.beside: Analysis | None = beside
        self._progress = progress
        self._seconds = 0.0
        self._engine: Engine = Alone()
        self._at_once: tuple[str, ...] = ()
        self._journal: JournalFolder | None = None

    def keep_journal(self, directory: Path) -> None:
        """Keep results in a directory as they come, and take from there what is done already."""
        self._journal = JournalFolder(directory)

    @_of_the_checkpoint
    def opened(self) -> OpenedCheckpoint:
        """The checkpoint's files and tokenizer."""
        return open_checkpoint(self.config)

    @_of_the_checkpoint
    def checkpoint(self) -> Checkpoint:
        """The loaded checkpoint."""
        return load_checkpoint(self.config, self.opened)

    @_of_the_checkpoint
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
                config.sampling.most,
                config.seed,
                config.scope,
                kinds=config.directions,
                vectors=vectors,
            )

    @cached_property
    def measurement(self) -> Measurement:
        """The figures of every (radius, direction, prompt)."""
        require_same_on_all_ranks(self.config, self._identity, current(), self._journal)
        config, model = self.config, self.checkpoint.model
        device = resolve_device(config.device)
        started = time.perf_counter()
        batches = self.batches
        with _readable_failure(self.checkpoint.architecture):
            setup = Setup(
                model,
                self.sharing.batches,
                self.directions,
                device,
                config.precision,
                calibration=self.sharing.calibration,
                taps=self._taps if config.layer_profile else None,
                metrics=config.chosen_metrics,
                engine=self._engine,
                group=current(),
                journal=self._journal,
            )
            measured = measure_with(
                setup,
                self._absolute_radii,
                limits=limits_of(config),
                rounds=config.sampling.rounds(self.directions.kinds),
                enough=self._settled,
                progress=self._progress,
                second_order=config.second_order,
                refined=config.refine,
            )
        if self._journal is not None:
            self._journal.add_up(current())
        self._seconds = time.perf_counter() - started
        ordered = measured.in_order([row for batch in batches for row in batch.rows])
        return ordered.in_unit(config.radii)

    @_of_the_checkpoint
    def batches(self) -> tuple[Batch, ...]:
        """The prompts as they are measured: padded, unless the architecture looks at padding."""
        probes = self.probes
        if all(bool(batch.attention_mask.all()) for batch in probes.batches):
            return probes.batches
        prompt = _small_part(probes.batches[0])
        device = resolve_device(self.config.device)
        sees = sees_padding(self.checkpoint.model, prompt, probes.pad_id, self.directions, device)
        return probes.unpadded if sees else probes.batches

    @_of_the_checkpoint
    def sharing(self) -> Sharing:
        """The calls that run the model on them, with a shared prefix apart if that saves work."""
        batches, model = self.batches, self.checkpoint.model
        device = resolve_device(self.config.device)
        runs = [last_token_logits(model, batch, device) for batch in batches]
        calibration = last_token_logits(model, _small_part(batches[0]), device)
        if not self.config.share_prefix:
            return whole(runs, calibration, "share_prefix is false")
        if batches is not self.probes.batches:
            return whole(runs, calibration, "the architecture looks at the length of its input")
        return share(runs, calibration, self._prompts())

    @cached_property
    def findings(self) -> Findings:
        """All that was found out."""
        measured = self.measurement
        return Findings(
            measurement=measured,
            checkpoint=self.checkpoint.describe(),
            probes=self.probes.describe(),
            scope=self.directions.describe(measured.directions or None),
            environment=self._environment(),
        )

    @cached_property
    def report(self) -> Report:
        """The figures per radius, held against the limits."""
        return judge(self.findings, self.config)

    def _identity(self, digest: Callable[[Path], str]) -> dict[str, Any]:
        """What the figures depend on, by name, and how they are taken."""
        directory, scope = self.opened.directory, sorted(self.directions.shapes.items())
        return {
            **identity(self.config, directory, self.probes, digest),
            "the scope": hashlib.sha256(repr(scope).encode()).hexdigest(),
            "the batches": [list(batch.rows) for batch in self.batches],
        }

    def _settled(self, measured: Measurement) -> bool:
        """Whether more directions would not change the verdict on any radius."""
        config = self.config
        limits, certainty = limits_of(config), certainty_of(config)
        found = judge_radii(measured, measured.radii, limits, config.chosen_metrics, certainty)
        return not any(figures.inconclusive for figures in found)

    @property
    def _absolute_radii(self) -> list[float]:
        config = self.config
        return absolute_radii(config.radii, config.radius_unit, self.directions.norm)

    @classmethod
    def find_together(
        cls, analyses: Sequence[Analysis], *, progress: Progress | None = None
    ) -> list[Findings | Exception]:
        """All that is found out about several scopes of one checkpoint, measured at once.

        Args:
            analyses: Those of the scopes, which share a checkpoint; see `beside`.
            progress: Told (done, total) of all of them together.

        Returns:
            What was found out about each, or why it could not be measured.
        """
        scopes = tuple(analysis.config.scope for analysis in analyses)
        shares = split_progress(progress, len(analyses))
        for analysis, share_of_it in zip(analyses, shares, strict=True):
            analysis._at_once, analysis._progress = scopes, share_of_it
        return measure_together([analysis._find_with for analysis in analyses])

    def _find_with(self, engine: Engine) -> Findings:
        self._engine = engine
        return self.findings

    @_of_the_checkpoint
    def _taps(self) -> LayerTaps:
        """Taps on the decoder's blocks, each the last of the modules that make it up."""
        model = self.checkpoint.model
        blocks = {parts[-1]: model.get_submodule(parts[-1]) for parts in transformer_blocks(model)}
        if not blocks:
            raise ConfigError(
                f"layer_profile: {self.checkpoint.architecture} has no repeated blocks to look at"
            )
        return LayerTaps(blocks)

    def _prompts(self) -> list[tuple[int, ...]]:
        return [probe.token_ids for probe in self.probes.probes]

    def _environment(self) -> dict[str, Any]:
        return {
            **versions(),
            "device": str(resolve_device(self.config.device)),
            "precision": sorted(set(self.measurement.precision)),
            "jvp_method": self.measurement.jvp_method,
            "padded_batches": self.batches is self.probes.batches,
            **self.sharing.describe(),
            "no_forward_mode": self.measurement.no_forward_mode,
            "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "reused": False,
            "evaluations": self.measurement.evaluations,
            "seconds": round(self._seconds, 3),
            **({"scopes_at_once": list(self._at_once)} if self._at_once else {}),
            **({"hosts": list(current().hosts)} if not is_single(current()) else {}),
            **({"journal": self._journal.describe()} if self._journal else {}),
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
