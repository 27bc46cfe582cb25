"""What a journal keeps of a measurement: its calibration, and every round of its passes.

A run that was killed is done again by the same steps; what the journal has of them is taken from
there instead of being measured, down to the derivatives that later passes need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

import torch

from pytest_linearity.numerics.calibration.calibration import Calibration, RoundingNoise
from pytest_linearity.numerics.lockstep.tail import Site
from pytest_linearity.numerics.measurement.figures import Pairs, PairStore
from pytest_linearity.numerics.measurement.layers import LayerFigures
from pytest_linearity.numerics.measurement.schedule import Wanted


class Journal(Protocol):
    """Where results are kept as they come, and found again by a later run of the same thing."""

    def get(self, key: Mapping[str, Any]) -> Any:
        """What is kept under a key; None where there is nothing, or it is damaged."""

    def put(self, key: Mapping[str, Any], entry: Any) -> None:
        """Keep plain data and tensors under a key: plain data, too, that begins with its name.

        Raises:
            LinearityError: If it cannot be kept.
        """


class Rounds:
    """The journal's entries of rounds in one arithmetic, one for each direction of a round."""

    def __init__(
        self,
        journal: Journal,
        figures: PairStore,
        layers: LayerFigures | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Rounds whose results are kept in `figures` and `layers`, on a device."""
        self._journal = journal
        self._stores = [store for store in (figures, layers) if store is not None]
        self._dtype = str(dtype).removeprefix("torch.")
        self._device = device

    def recall(self, batches: Sequence[int], ks: Sequence[int], wanted: Wanted) -> bool:
        """Take in a round; False where not all of it is journaled.

        Then all of it is to be measured: figures depend in their last digits on which directions
        advance together.
        """
        entries = [self._journal.get(self._key(batches, k, wanted)) for k in ks]
        if any(entry is None for entry in entries):
            return False
        for entry in entries:
            for store, one in zip(self._stores, entry, strict=True):
                store.take_over(one, self._device)
        return True

    def note(self, batches: Sequence[int], ks: Sequence[int], wanted: Wanted) -> None:
        """Journal a round that is done.

        Raises:
            LinearityError: If the journal cannot be written.
        """
        for k in ks:
            pairs = Pairs(wanted.radii, [k], batches)
            entry: list[dict[str, Any]] = [store.found(pairs) for store in self._stores]
            if wanted.derivatives or wanted.curvature is not None:
                for one, store in zip(entry, self._stores, strict=True):
                    one.update(store.vectors(pairs))
            self._journal.put(self._key(batches, k, wanted), entry)

    def _key(self, batches: Sequence[int], k: int, wanted: Wanted) -> dict[str, Any]:
        return {
            "name": f"direction-{k}-{self._dtype}",
            "radii": list(wanted.radii),
            "batches": list(batches),
            "derivatives": wanted.derivatives,
            "curvature": wanted.curvature,
        }


def calibrated(journal: Journal | None, calibrate: Callable[[], Calibration]) -> dict[str, Any]:
    """The fields of a calibration as plain data: those that are journaled, or else new ones.

    Raises:
        LinearityError: If the model cannot be measured, or the journal not be written.
    """
    key = {"name": "calibration"}
    facts = None if journal is None else journal.get(key)
    if facts is None:
        calibration = calibrate()
        facts = {field.name: getattr(calibration, field.name) for field in fields(calibration)}
        facts["tail"] = sorted(tuple(site) for site in calibration.tail)
        facts |= {name: tuple(facts[name]) for name in _ARITHMETICS}
        if journal is not None:
            journal.put(key, facts)
    return dict(facts)


def calibration_of(facts: dict[str, Any]) -> Calibration:
    """What `calibrated` made plain."""
    tail = frozenset(Site(*site) for site in facts["tail"])
    noise = {name: RoundingNoise(*facts[name]) for name in _ARITHMETICS}
    return Calibration(**{**facts, **noise, "tail": tail})


_ARITHMETICS = ("float32", "float64")
