"""A direction from a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pytest_linearity.errors import ConfigError, one_line, pass_on_foreign, shown
from pytest_linearity.numerics.directions.kinds import file_of
from pytest_linearity.numerics.directions.layout import matrix_shape
from pytest_linearity.numerics.directions.seeds import Shapes
from pytest_linearity.numerics.directions.vectors.tensors import tensors_digest


class FileVector:
    """The tensors of a file, which stay on disk until their rows are asked for."""

    label = "from a file"
    zero = "it is zero in every parameter in scope"

    def __init__(self, kind: str, tensors: Mapping[str, Tensor], model: nn.Module) -> None:
        """Take the tensors of a file.

        Args:
            kind: How the config calls the direction.
            tensors: By canonical name of a parameter.
            model: The model.

        Raises:
            ConfigError: If a name is not that of a parameter.
        """
        self._kind = kind
        self._tensors = tensors
        self._shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        for name in tensors:
            if name not in self._shapes:
                raise self._error(_stranger(name, model))

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of one tensor: Tensor [stop - start, width] of the file's dtype.

        Raises:
            ConfigError: If the file lacks it, or has it in another shape, or not as floats.
        """
        tensor, shape = self._tensors.get(name), self._shapes[name]
        if tensor is None:
            raise self._error(f"lacks {name}, which is in scope")
        if tuple(tensor.shape) != shape:
            raise self._error(f"{name} has shape {list(tensor.shape)}, the parameter {list(shape)}")
        if not tensor.is_floating_point():
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise self._error(f"{name} is of {dtype}, but floats are needed")
        return tensor.reshape(matrix_shape(shape))[start:stop]

    def facts(self, shapes: Shapes) -> Mapping[str, Any]:
        """A digest of the tensors in scope."""
        return {"digest": tensors_digest((name, self._tensors[name]) for name in sorted(shapes))}

    def _error(self, problem: str) -> ConfigError:
        return ConfigError(f"directions: {self._kind}: {problem}")


def read_direction(kind: str, path: Path | None, model: nn.Module) -> FileVector:
    """Open a file of directions, mapped into memory.

    Args:
        kind: How the config calls it.
        path: The file, if there is one.
        model: The model, whose parameters' canonical names are those of the file's tensors. It may
            have more than are in scope, and must have those.

    Raises:
        ConfigError: If it is missing, is no safetensors file, or names what is no parameter.
    """
    from safetensors import safe_open

    if path is None:
        raise ConfigError(f"directions: {shown(file_of(kind))}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors and the system's errors have no common base
        pass_on_foreign(error)
        raise ConfigError(
            f"directions: {kind}: cannot be read as safetensors: {one_line(error)}"
        ) from None
    return FileVector(kind, tensors, model)


def _stranger(name: str, model: nn.Module) -> str:
    """Why a name is none of a parameter."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for first, parameter in model.named_parameters():
        if parameters.get(name) is parameter:
            return f"{name} is the same tensor as {first}: give it under that name alone"
    return f"{shown(name)} is no parameter of {type(model).__name__}"
