"""The update of a fine-tuning run, θ* − θ_base, taken a few rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.directions.layout import matrix_shape
from pytest_linearity.numerics.directions.seeds import Shapes
from pytest_linearity.numerics.directions.vectors.tensors import tensors_digest

_KEY = "base_model_name_or_path"


class Update:
    """What fine-tuning has added to the parameters of its base."""

    label = "update of the base"

    def __init__(self, model: nn.Module, base: nn.Module, name: str) -> None:
        """The difference of two models, whose parameters are compared as they are read.

        Args:
            model: The fine-tuned model.
            base: The model that it was made of.
            name: How the config calls the base.
        """
        self._base_name = name
        self._tuned = dict(model.named_parameters(remove_duplicate=False))
        # Where only the base ties two parameters, it has the tensor under both names.
        self._base = dict(base.named_parameters(remove_duplicate=False))
        self._pair = cache(self._paired)

    @property
    def zero(self) -> str:
        """What a message says where nothing was changed."""
        return (
            f"{_KEY} {self._base_name} equals the checkpoint in every parameter in scope, so "
            "there is no update to follow"
        )

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of the difference: float64 Tensor [stop - start, width].

        Raises:
            ConfigError: If the base lacks the parameter, or has it in another shape.
        """
        tuned, base = self._pair(name)
        return tuned[start:stop].to("cpu").double() - base[start:stop].to("cpu").double()

    def facts(self, shapes: Shapes) -> Mapping[str, Any]:
        """A digest of the base's parameters in scope; the config names the base."""
        tensors = ((name, self._base[name]) for name in sorted(shapes))
        return {"digest": tensors_digest(tensors)}

    def _paired(self, name: str) -> tuple[Tensor, Tensor]:
        """A parameter of the model and that of the base, as matrices."""
        tuned, base = self._tuned[name], self._base.get(name)
        if base is None:
            raise ConfigError(
                f"{_KEY}: {self._base_name} has no parameter {name}, the checkpoint has"
            )
        if base.shape != tuned.shape:
            raise ConfigError(
                f"{_KEY}: {name} has shape {list(base.shape)} in {self._base_name}, but "
                f"{list(tuned.shape)} in the checkpoint"
            )
        self._require_tied(name)
        shape = matrix_shape(tuple(tuned.shape))
        return tuned.detach().reshape(shape), base.detach().reshape(shape)

    def _require_tied(self, name: str) -> None:
        """A tied tensor has one update only where it is one tensor in the base, too."""
        for other, tensor in self._tuned.items():
            if tensor is not self._tuned[name] or other == name or other not in self._base:
                continue
            mine, theirs = self._base[name], self._base[other]
            if mine is not theirs and not torch.equal(mine, theirs):
                raise ConfigError(
                    f"{_KEY}: {name} and {other} differ in {self._base_name}, but are one tensor "
                    "in the checkpoint"
                )
