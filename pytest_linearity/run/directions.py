"""Vectors over a checkpoint's parameters that directions are made of: read, or computed once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.directions.given import Vector
from pytest_linearity.numerics.directions.kinds import RANDOM, file_of, unreversed
from pytest_linearity.numerics.measurement.radius_unit import LEARNING_RATE, RELATIVE, UPDATE

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.directions.vectors.optimizer import OptimizerStep
    from pytest_linearity.numerics.directions.vectors.update import Update
    from pytest_linearity.run.subject import Subject

_VECTOR = {UPDATE: "update", LEARNING_RATE: "optimizer"}
"""Which vector a unit is the length of."""


class ScopedDirections:
    """The directions of one scope of a subject, and the vectors that they are made of.

    Each is made when it is first asked for, and kept.

    Every property raises LinearityError if the checkpoint, its base, its optimizer's state or a
    file of directions cannot be used.
    """

    def __init__(self, config: Config, subject: Subject) -> None:
        """Those of a config, of which nothing is loaded.

        Args:
            config: Names the kinds of directions.
            subject: The checkpoint, and the prompts that a gradient is taken on.
        """
        self._config = config
        self._subject = subject
        self._vectors: dict[str, Vector] = {}

    @cached_property
    def directions(self) -> Directions:
        """Those of the config's kinds."""
        config = self._config
        return self._of(config.directions, config.sampling.most)

    @cached_property
    def along_update(self) -> Directions:
        """The one from the checkpoint back to its base."""
        return self._of(["-update"], 1)

    @cached_property
    def unit_length(self) -> float:
        """The Euclidean norm of a step of radius 1, in the unit of the config."""
        unit = self._config.radius_unit
        if unit == RELATIVE:
            return self.directions.norm
        if unit not in _VECTOR:
            return 1.0
        name = _VECTOR[unit]
        length = self.directions.length_of(name) or self._of([name], 1).length_of(name)
        assert length is not None
        return length

    def _of(self, kinds: list[str] | tuple[str, ...], count: int) -> Directions:
        config = self._config
        names = dict.fromkeys(map(unreversed, kinds))
        vectors = {name: self._vector(name) for name in names if name not in RANDOM}
        return Directions(
            self._subject.checkpoint.model,
            count,
            config.seed,
            config.scope,
            kinds=kinds,
            vectors=vectors,
        )

    def _vector(self, name: str) -> Vector:
        if name not in self._vectors:
            self._vectors[name] = self._made(name)
        return self._vectors[name]

    def _made(self, name: str) -> Vector:
        path = file_of(name)
        if path is not None:
            from pytest_linearity.numerics.directions.vectors.file import read_direction

            place = self._config.locate(path.strip())
            return read_direction(name, place, self._subject.checkpoint.model)
        if name == "update":
            return self._update()
        return self._optimizer_step() if name == "optimizer" else self._gradient()

    def _update(self) -> Update:
        from pytest_linearity.checkpoint.load import load_base
        from pytest_linearity.numerics.directions.vectors.update import Update

        base = self._config.base_model_name_or_path
        assert base is not None
        return Update(self._subject.checkpoint.model, load_base(self._config), base)

    def _gradient(self) -> Vector:
        from pytest_linearity.numerics.scope.match import parameters_in_scope
        from pytest_linearity.numerics.scope.parse import parse_scope
        from pytest_linearity.probes.gradient import loss_gradient

        subject, model = self._subject, self._subject.checkpoint.model
        names = parameters_in_scope(model, parse_scope(self._config.scope))
        return loss_gradient(model, subject.token_ids, names, subject.device)

    def _optimizer_step(self) -> OptimizerStep:
        from pytest_linearity.checkpoint.optimizer.find import read_optimizer_state
        from pytest_linearity.checkpoint.trainer_state import read_trainer_state
        from pytest_linearity.numerics.directions.vectors.optimizer import OptimizerStep

        model, directory = self._subject.checkpoint.model, self._subject.opened.directory
        trainer = read_trainer_state(directory)
        state = read_optimizer_state(self._state_place(directory), model, step=trainer.step)
        facts: dict[str, Any] = {"optimizer": state.name, "step": state.step}
        for name in ("learning_rate", "peak_learning_rate"):
            if getattr(trainer, name) is not None:
                facts[name] = getattr(trainer, name)
        return OptimizerStep(model, state.moments, facts)

    def _state_place(self, directory: Path) -> Path:
        named = self._config.optimizer_state
        if named is None:
            return directory
        place = self._config.locate(named)
        if place is None:
            raise ConfigError(f"optimizer_state: {named}: there is no such file or directory")
        return place
