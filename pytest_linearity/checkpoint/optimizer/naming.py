"""Which parameter is which, in a state that knows them by number.

A trainer hands its optimizer groups of parameters, those whose weights decay and those whose do
not, each in the model's order. A saved state has the groups and nobody's name. Where no shape is
in two groups, shapes and order tell the names; where one is, the rule does by which transformers'
trainer builds its groups, if its shapes are those of the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from torch import nn

Shape: TypeAlias = tuple[int, ...]


class Unmatched(ValueError):
    """Why the parameters of a state cannot be told apart, as a phrase."""


def names_of_groups(model: nn.Module, groups: Sequence[Sequence[Shape]]) -> list[list[str]]:
    """The names of the parameters of each group.

    Args:
        model: The model; a tied parameter counts once, under its first name.
        groups: The shapes of each group's parameters, in the order of the optimizer.

    Raises:
        Unmatched: If the state is of another model, or its shapes fit in more than one way.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    _same_shapes(shapes, groups)
    by_shape = _by_shape(shapes, groups)
    if by_shape is not None:
        if _fit(by_shape, shapes, groups):
            return by_shape
        raise Unmatched("holds its parameters in another order than the model")
    by_rule = _by_trainers_rule(model)
    if _fit(by_rule, shapes, groups):
        return by_rule
    raise Unmatched(
        "has parameters of one shape in several groups, and not those that transformers' trainer "
        "makes, so that they cannot be told apart"
    )


def _same_shapes(shapes: Mapping[str, Shape], groups: Sequence[Sequence[Shape]]) -> None:
    theirs = [shape for group in groups for shape in group]
    if len(theirs) != len(shapes):
        raise Unmatched(
            f"is of another model: it holds {len(theirs)} parameters, the checkpoint {len(shapes)}"
        )
    left = list(theirs)
    for name, shape in shapes.items():
        if shape not in left:
            raise Unmatched(
                f"is of another model: it holds no further parameter of the shape of {name}, "
                f"{list(shape)}"
            )
        left.remove(shape)


def _by_shape(
    shapes: Mapping[str, Shape], groups: Sequence[Sequence[Shape]]
) -> list[list[str]] | None:
    """Each parameter in the one group that has its shape; None where a shape is in several."""
    owners: dict[Shape, int] = {}
    for place, group in enumerate(groups):
        for shape in group:
            if owners.setdefault(shape, place) != place:
                return None
    names: list[list[str]] = [[] for _ in groups]
    for name, shape in shapes.items():
        names[owners[shape]].append(name)
    return names


def _by_trainers_rule(model: nn.Module) -> list[list[str]]:
    """Those whose weights decay, then those whose do not, as transformers' trainer has them."""
    from transformers import Trainer

    rule: Any = Trainer.get_decay_parameter_names
    decaying = set(rule(None, model))  # a method that looks at nothing but the model
    everyone = [name for name, _ in model.named_parameters()]
    return [
        [name for name in everyone if name in decaying],
        [name for name in everyone if name not in decaying],
    ]


def _fit(
    names: Sequence[Sequence[str]],
    shapes: Mapping[str, Shape],
    groups: Sequence[Sequence[Shape]],
) -> bool:
    return [[shapes[name] for name in group] for group in names] == [list(g) for g in groups]
