"""Values of parameters that forwards have been given, which they must not write into.

The model would have written into the parameter itself: by an alias, as a view or what `detach`
gives, for which no function says so. Here it would change what another evaluation reads instead.
"""

from __future__ import annotations

import weakref

from torch import Tensor

from pytest_linearity.errors import MeasurementError


def refuse_to_write(name: str, how: str = "") -> MeasurementError:
    """The error of a forward that changes a parameter.

    Args:
        name: Canonical name of the parameter.
        how: The function, where it is known.
    """
    by = f" ({how})" if how else ""
    return MeasurementError(
        f"the forward changes parameter {name!r} in place{by}, so it is no function of the "
        "checkpoint's parameters; switch that off in the model's config"
    )


class Loans:
    """What one evaluation has been given, as far as it is still there."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._lent: list[tuple[weakref.ref[Tensor], int, str]] = []

    def lend(self, value: Tensor, name: str) -> None:
        """Take note of a value before it is handed out."""
        if not value.is_inference():  # which has no count of what is written
            self._lent.append((weakref.ref(value), value._version, name))

    def check(self) -> None:
        """Look at all of it, once the evaluation waits again or has ended.

        Raises:
            MeasurementError: If it has written into some.
        """
        self._lent = [loan for loan in self._lent if loan[0]() is not None]
        for value, version, name in self._lent:
            if value()._version != version:  # type: ignore[union-attr]
                raise refuse_to_write(name)
