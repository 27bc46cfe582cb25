"""The unit directions of a run: of one kind or several, over the parameters in scope."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any

from torch import Tensor, nn

from pytest_linearity.errors import ConfigError, shown
from pytest_linearity.numerics.directions.base import Kind
from pytest_linearity.numerics.directions.filterwise import Filterwise
from pytest_linearity.numerics.directions.gaussian import Gaussian
from pytest_linearity.numerics.directions.given import Given, Vector
from pytest_linearity.numerics.directions.kinds import RANDOM, unreversed
from pytest_linearity.numerics.directions.layerwise import Layerwise
from pytest_linearity.numerics.directions.norms import row_norms, tensor_norm, total
from pytest_linearity.numerics.directions.parts import Part
from pytest_linearity.numerics.directions.rademacher import Rademacher
from pytest_linearity.numerics.directions.seeds import Chance
from pytest_linearity.numerics.scope.match import match_scope
from pytest_linearity.numerics.scope.measurable import check_held, check_moved
from pytest_linearity.numerics.scope.parse import parse_scope


class Directions:
    """Unit directions over the parameters in scope, made in any order and in any part.

    Random ones depend on the seed, the direction's index within its kind and the parameter's
    canonical name and shape alone, up to norms that the scope decides. They are the same on every
    device, in every order of drawing, and however often they are drawn.

    Example:
        >>> from torch import nn
        >>> directions = Directions(nn.Linear(3, 2), count=1)
        >>> directions.names
        ('weight', 'bias')
        >>> squares = [directions.tensor(0, name).square().sum() for name in directions.names]
        >>> round(float(sum(squares)), 6)
        1.0
    """

    def __init__(
        self,
        model: nn.Module,
        count: int = 8,
        seed: int = 42,
        scope: str = "full",
        *,
        kinds: Sequence[str] = ("gaussian",),
        vectors: Mapping[str, Vector] | None = None,
    ) -> None:
        """Plan the directions; nothing is drawn but norms.

        Args:
            model: Any module. For some kinds, and for `norm`, its parameters' values are read.
            count: How many directions of each random kind, at least 1.
            seed: Seeds all of them.
            scope: A `param_scope`.
            kinds: Random kinds (`gaussian`, `rademacher`, `layerwise`, `filterwise`) and names of
                `vectors`, each of which gives one direction, the opposite one with a minus before
                its name.
            vectors: Vectors over the parameters, by name.

        Raises:
            ConfigError: If the scope is unknown, or holds no parameter of the model; if a kind is
                unknown; if a kind leads nowhere in this scope.
            MeasurementError: If a parameter is of a kind that is not measured: complex, integer,
                not initialised, a DTensor, sharing memory with another, scripted.
            ValueError: If `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"count is {count}; at least one direction is needed")
        self.seed = seed
        self.scope = scope
        try:
            parsed = parse_scope(scope)
        except ValueError as error:
            raise ConfigError(f"param_scope: {error}") from None
        check_held(model)
        self._match = match_scope(model, parsed)
        self.names = self._match.names
        check_moved(model, self.names)
        chosen = set(self.names)
        self._parameters = {n: p for n, p in model.named_parameters() if n in chosen}
        self.shapes = {name: tuple(p.shape) for name, p in self._parameters.items()}
        self._kinds = {kind: self._planned(kind, count, vectors or {}) for kind in kinds}
        self._places = [(kind, k) for kind in self._kinds.values() for k in range(kind.count)]

    @property
    def count(self) -> int:
        """How many directions, of all kinds together."""
        return len(self._places)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each direction, those of a kind one after another."""
        return tuple(name for name, kind in self._kinds.items() for _ in range(kind.count))

    @property
    def scopes(self) -> tuple[frozenset[str], ...]:
        """The one set of parameters that all of them move; see `JointDirections`."""
        return (frozenset(self.shapes),)

    def scope_of(self, k: int) -> int:
        """Which of `scopes` is direction k's."""
        return 0

    @property
    def parameters(self) -> int:
        """How many parameters a direction moves: the dimension of its sphere plus one."""
        return sum(prod(shape) for shape in self.shapes.values())

    @cached_property
    def norm(self) -> float:
        """Euclidean norm of the parameters in scope, taken in float64."""
        return total(self._tensor_norms.values())

    def length_of(self, name: str) -> float | None:
        """Euclidean norm of the vector that a kind is made of, within the scope.

        Args:
            name: The name of the vector, without the minus of the opposite direction.

        Returns:
            None where no kind is made of it.
        """
        for kind, made in self._kinds.items():
            if unreversed(kind) == name and isinstance(made, Given):
                return made.norm
        return None

    def describe(self, measured: Sequence[int] | None = None) -> dict[str, Any]:
        """What the report says of them, so that two runs can be compared pair by pair.

        Args:
            measured: Those that were; None for all.
        """
        ks = range(self.count) if measured is None else measured
        counts = Counter(self._places[k][0] for k in ks)
        shapes = sorted(self.shapes.items())
        described: dict[str, Any] = {
            "kind": ", ".join(kind.label for kind in self._kinds.values()),
            "count": len(ks),
            "seed": self.seed,
        }
        if list(self._kinds) != ["gaussian"]:
            described["kinds"] = [
                {"kind": name, "count": counts[kind], **kind.facts}
                for name, kind in self._kinds.items()
            ]
        return {
            **self._match.describe(),
            "norm": self.norm,
            "digest": hashlib.sha256(repr(shapes).encode()).hexdigest(),
            "directions": described,
        }

    def tensor(self, k: int, name: str) -> Tensor:
        """Direction k's part of one parameter.

        Args:
            k: Index of the direction, from 0.
            name: Canonical name of a parameter in scope.

        Returns:
            float32 Tensor of the parameter's shape, on the CPU.

        Raises:
            KeyError: If the parameter is not in scope.
            IndexError: If there is no such direction.
        """
        part = self.part(k, name)
        return part.rows(0, part.count).reshape(self.shapes[name])

    def part(self, k: int, name: str) -> Part:
        """Direction k's part of one parameter, to be made a few rows at a time.

        Raises:
            KeyError: If the parameter is not in scope.
            IndexError: If there is no such direction.
        """
        if not 0 <= k < self.count:
            raise IndexError(f"direction {k} of {self.count}")
        if name not in self.shapes:
            raise KeyError(name)
        kind, place = self._places[k]
        return kind.part(place, name)

    @cached_property
    def _tensor_norms(self) -> dict[str, float]:
        return {name: tensor_norm(parameter) for name, parameter in self._parameters.items()}

    def _planned(self, name: str, count: int, vectors: Mapping[str, Vector]) -> Kind:
        vector = vectors.get(unreversed(name))
        if vector is not None:
            return Given(name, vector, self.shapes, reverse=name not in vectors)
        if name not in RANDOM:
            kinds = ", ".join([*RANDOM, *vectors])
            raise ConfigError(f"directions: {shown(name)} is not one of {kinds}")
        chance = Chance(self.seed, self.shapes)
        if name == "layerwise":
            return Layerwise(chance, count, self._tensor_norms)
        if name == "filterwise":
            matrices = {n: p for n, p in self._parameters.items() if p.dim() >= 2}
            return Filterwise(chance, count, {n: row_norms(p) for n, p in matrices.items()})
        return (Rademacher if name == "rademacher" else Gaussian)(chance, count)
