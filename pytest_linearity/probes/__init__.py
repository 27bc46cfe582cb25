"""The prompts that a checkpoint is measured on: from a config to batches of token ids."""

from __future__ import annotations

from pytest_linearity.probes.batches import Batch
from pytest_linearity.probes.probe import Probe, Probes
from pytest_linearity.probes.sources import load_probes

__all__ = ["Batch", "Probe", "Probes", "load_probes"]
