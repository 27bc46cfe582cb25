"""Measuring one scope of a subject: the radii, the figures, and the update beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_linearity.config.config import Config
from pytest_linearity.errors import LinearityError, one_line
from pytest_linearity.numerics.measurement.jobs import Alone, Engine
from pytest_linearity.numerics.measurement.measure import measure_with
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.numerics.measurement.radius_unit import absolute_radii
from pytest_linearity.numerics.measurement.schedule import Progress, share_of
from pytest_linearity.numerics.measurement.setup import Setup
from pytest_linearity.numerics.ranks import current
from pytest_linearity.run.directions import ScopedDirections
from pytest_linearity.run.search import ChosenRadii, along_update, choose_radii
from pytest_linearity.run.store.journal import JournalFolder
from pytest_linearity.run.subject import Subject
from pytest_linearity.verdict.findings import UpdateFindings
from pytest_linearity.verdict.limits import limits_along_update, limits_of

Enough = Callable[[Measurement, Config], bool]
"""Whether the directions so far settle the verdict under a config."""


@dataclass(frozen=True)
class Measured:
    """What measuring has given, with prompts in their order and radii in the unit of the config."""

    measurement: Measurement
    """The figures of every (radius, direction, prompt)."""
    chosen: Mapping[str, ChosenRadii] = field(default_factory=dict)
    """The radii that were looked for, by kind of directions."""
    update: UpdateFindings | None = None
    """What was found along the update; None where no base is known, or its gate is off."""

    @property
    def radii(self) -> dict[str, tuple[float, ...]]:
        """The radii that were looked for."""
        return {kind: chosen.radii for kind, chosen in self.chosen.items()}

    @property
    def facts(self) -> dict[str, Any]:
        """What these rest on, for the report; nothing where none were looked for."""
        facts = {kind: dict(chosen.facts) for kind, chosen in self.chosen.items()}
        return {"automatic_radii": facts} if facts else {}


def measure_scope(
    config: Config,
    subject: Subject,
    scoped: ScopedDirections,
    *,
    engine: Engine | None,
    journal: JournalFolder | None,
    enough: Enough,
    progress: Progress | None,
) -> Measured:
    """Measure one scope.

    Args:
        config: That of the scope.
        subject: The checkpoint and the prompts.
        scoped: The directions.
        engine: Runs the evaluations; None for one of its own.
        journal: Where results are kept as they come; None for nowhere.
        enough: Asked between two rounds of directions.
        progress: Told (done, total) as parameters are served.

    Raises:
        LinearityError: If config, checkpoint or probes cannot be used.
    """
    work = _Work(config, subject, scoped, engine, journal, progress)
    chosen = work.choose()
    settled = config.with_radii({kind: c.radii for kind, c in chosen.items()}) if chosen else config
    measurement = work.measure(settled, lambda figures: enough(figures, settled))
    return Measured(measurement, chosen, work.update())


class _Work:
    """The parts of the work, each with its share of the progress."""

    def __init__(
        self,
        config: Config,
        subject: Subject,
        scoped: ScopedDirections,
        engine: Engine | None,
        journal: JournalFolder | None,
        progress: Progress | None,
    ) -> None:
        self._config = config
        self._scoped = scoped
        self._rows = [row for batch in subject.batches for row in batch.rows]
        self._progress = progress
        self._parts = len(config.automatic) + 1 + config.gates_update
        self._setup = Setup(
            subject.checkpoint.model,
            subject.sharing.batches,
            scoped.directions,
            subject.device,
            config.precision,
            calibration=subject.sharing.calibration,
            taps=subject.taps if config.layer_profile else None,
            metrics=config.chosen_metrics,
            engine=engine or Alone(),
            group=current(),
            journal=journal,
        )

    def choose(self) -> dict[str, ChosenRadii]:
        """The radii of the kinds that leave the choice."""
        limits = limits_of(self._config)
        return {
            kind: choose_radii(
                self._setup,
                kind,
                limits.of_kind(kind),
                self._scoped.unit_length,
                self._share(place),
            )
            for place, kind in enumerate(self._config.automatic)
        }

    def measure(self, config: Config, enough: Callable[[Measurement], bool]) -> Measurement:
        """All figures, of a config whose radii are known."""
        length = self._scoped.unit_length

        def absolute(radii: tuple[float, ...]) -> list[float]:
            return absolute_radii(radii, config.radius_unit, length)

        measured = measure_with(
            self._setup,
            absolute(config.tested_radii),
            radii_by_kind={k: absolute(r) for k, r in config.radii_by_kind.items()},
            limits=limits_of(config),
            rounds=config.sampling.rounds(self._setup.directions.kinds),
            enough=enough,
            progress=self._share(len(config.automatic)),
            second_order=config.second_order,
            refined=config.refine,
        )
        return measured.in_order(self._rows).in_unit(config.tested_radii)

    def update(self) -> UpdateFindings | None:
        """The update at its own length; where its base was not named, what fails is a reason."""
        config = self._config
        if not config.gates_update:
            return None
        base = config.base_model_name_or_path
        assert base is not None
        try:
            return self._along_update(base)
        except LinearityError as error:
            if config.base_named_by is None:
                raise
            return UpdateFindings(base, config.base_named_by, skipped=one_line(error))

    def _along_update(self, base: str) -> UpdateFindings:
        directions = self._scoped.along_update
        norm = directions.length_of("update")
        assert norm is not None
        setup = replace(self._setup, directions=directions)
        limits = limits_along_update(self._config)
        crossing = along_update(setup, limits, norm, self._share(self._parts - 1))
        return UpdateFindings(
            base,
            self._config.base_named_by,
            norm,
            crossing.measurement.in_order(self._rows),
            crossing.low,
            crossing.high,
        )

    def _share(self, part: int) -> Progress | None:
        return share_of(self._progress, part, self._parts)
