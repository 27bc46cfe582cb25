"""Rows of a checkpoint that is mapped into memory: its pages are read before they are touched."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pytest_linearity.numerics.lockstep.order import Rows
from pytest_linearity.numerics.lockstep.prefetch import Begun, Read, Source
from pytest_linearity.numerics.mapped_files import FileMaps


class Mapped(Source):
    """Rows as the model holds them, read from the disk ahead of their use."""

    def __init__(self, read: Read, maps: FileMaps, parameters: Sequence[Tensor]) -> None:
        """A source for the parameters of one model.

        Args:
            read: Gives stored rows.
            maps: The files.
            parameters: The model's parameters that lie in them.
        """
        self._read = read
        self._maps = maps
        self._parameters = parameters

    def begin(self, rows: Rows) -> Begun:
        """Have the pages read; touching them first does no harm."""
        stored = self._read(rows)
        self._maps.read(stored)
        return Begun(stored)

    def used(self, rows: Rows) -> None:
        """Give the pages back where memory is scarce."""
        self._maps.let_go(self._read(rows))

    def close(self) -> None:
        """Give back where memory is scarce what was touched here and there, too."""
        for parameter in self._parameters:
            self._maps.let_go(parameter)
