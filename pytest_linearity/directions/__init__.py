"""Unit directions in parameter space: what a checkpoint is moved along."""

from pytest_linearity.directions.given import Vector
from pytest_linearity.directions.joint import DirectionSource, JointDirections
from pytest_linearity.directions.layout import block_rows, matrix_shape
from pytest_linearity.directions.parts import Part, rows_of
from pytest_linearity.directions.plan import Directions

__all__ = [
    "DirectionSource",
    "Directions",
    "JointDirections",
    "Part",
    "Vector",
    "block_rows",
    "matrix_shape",
    "rows_of",
]
