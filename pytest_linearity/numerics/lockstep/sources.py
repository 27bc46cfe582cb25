"""Which way the rows of a model's parameters take to the device.

From the host to a GPU they go through pinned memory; those of a checkpoint that is mapped into
memory are read from its file before the processor touches them; all others are where they are
needed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.layout import matrix_shape
from pytest_linearity.numerics.lockstep.mapped import Mapped
from pytest_linearity.numerics.lockstep.order import Rows
from pytest_linearity.numerics.lockstep.prefetch import Prefetch
from pytest_linearity.numerics.lockstep.staging import Staging
from pytest_linearity.numerics.lockstep.workers import thread_count
from pytest_linearity.numerics.mapped_files import FileMaps


def prefetch_for(parameters: Mapping[str, Tensor], device: torch.device) -> Prefetch:
    """How the parameters of a model are read for evaluations on a device.

    Args:
        parameters: As the model holds them.
        device: Where they are needed.
    """

    def read(rows: Rows) -> Tensor:
        parameter = parameters[rows.name]
        return parameter.reshape(matrix_shape(tuple(parameter.shape)))[rows.start : rows.stop]

    on_host = [tensor for tensor in parameters.values() if tensor.device.type == "cpu"]
    if device.type == "cuda" and on_host:
        return Prefetch(read, Staging(read, device))
    maps = FileMaps.now()
    mapped = [tensor for tensor in on_host if maps.hold(tensor)]
    source = Mapped(read, maps, mapped) if mapped else None
    return Prefetch(read, source, at_once=thread_count(device))
