"""What all scopes of a checkpoint share: its model, its prompts, and the calls that run them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.checkpoint.load import (
    Checkpoint,
    OpenedCheckpoint,
    load_checkpoint,
    open_checkpoint,
)
from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.measurement.layers import LayerTaps
from pytest_linearity.numerics.scope.structure import transformer_blocks
from pytest_linearity.probes.batches import Batch
from pytest_linearity.probes.load import load_probes
from pytest_linearity.probes.logits import last_token_logits
from pytest_linearity.probes.padding import sees_padding
from pytest_linearity.probes.probe import Probes
from pytest_linearity.probes.shared_prefix import Sharing, share, whole
from pytest_linearity.run.environment import resolve_device
from pytest_linearity.run.libraries import import_for
from pytest_linearity.run.store.identity import identity

if TYPE_CHECKING:
    import torch

    from pytest_linearity.config.config import Config


class Subject:
    """A checkpoint and the prompts it is measured on, each part made when it is first asked for.

    The scopes of a checkpoint have one subject, so that model and prompts are loaded once, and so
    that evaluations which do not depend on the scope can be recognised as the same. A subject
    holds the model: it is freed with the last analysis that has this subject.
    """

    def __init__(self, config: Config) -> None:
        """The subject of a config; its scope, directions, radii and limits do not matter here."""
        self.config = config

    @cached_property
    def opened(self) -> OpenedCheckpoint:
        """The checkpoint's files and tokenizer."""
        import_for(self.config)
        return open_checkpoint(self.config)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The loaded checkpoint."""
        return load_checkpoint(self.config, self.opened)

    @cached_property
    def probes(self) -> Probes:
        """The tokenised prompts; no weights are read for them."""
        opened = self.opened
        return load_probes(self.config, opened.tokenizer, max_length=opened.max_length)

    @property
    def token_ids(self) -> list[tuple[int, ...]]:
        """The prompts, each as its tokens."""
        return [probe.token_ids for probe in self.probes.probes]

    @property
    def device(self) -> torch.device:
        """Where it is measured."""
        return resolve_device(self.config.device)

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The prompts as they are measured: padded, unless the architecture looks at padding."""
        probes = self.probes
        if all(bool(batch.attention_mask.all()) for batch in probes.batches):
            return probes.batches
        model, prompt = self.checkpoint.model, small_part(probes.batches[0])
        sees = sees_padding(model, prompt, probes.pad_id, Directions(model, 1), self.device)
        return probes.unpadded if sees else probes.batches

    @property
    def padded(self) -> bool:
        """Whether prompts of different lengths share a batch."""
        return self.batches is self.probes.batches

    @cached_property
    def sharing(self) -> Sharing:
        """The calls that run the model on them, with a shared prefix apart if that saves work."""
        batches, model, device = self.batches, self.checkpoint.model, self.device
        runs = [last_token_logits(model, batch, device) for batch in batches]
        calibration = last_token_logits(model, small_part(batches[0]), device)
        if not self.config.share_prefix:
            return whole(runs, calibration, "share_prefix is false")
        if not self.padded:
            return whole(runs, calibration, "the architecture looks at the length of its input")
        return share(runs, calibration, self.token_ids)

    @cached_property
    def taps(self) -> LayerTaps:
        """Taps on the decoder's blocks, each the last of the modules that make it up.

        Raises:
            ConfigError: If the architecture has no repeated blocks.
        """
        model = self.checkpoint.model
        blocks = {parts[-1]: model.get_submodule(parts[-1]) for parts in transformer_blocks(model)}
        if not blocks:
            raise ConfigError(
                f"layer_profile: {self.checkpoint.architecture} has no repeated blocks to look at"
            )
        return LayerTaps(blocks)

    def identity(self, config: Config, digest: Callable[[Path], str]) -> dict[str, Any]:
        """What the figures of one of its scopes depend on; no weights are loaded for it.

        Args:
            config: That of the scope.
            digest: What stands for the content of a directory or file.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        return identity(config, self.opened.directory, self.probes, digest)


_CALIBRATION_TOKENS = 16
"""Rounding hardly depends on the length of a prompt, and the cost of calibration does."""


def small_part(batch: Batch) -> Batch:
    """The start of the first and shortest prompt of a batch."""
    length = min(int(batch.last[0]) + 1, _CALIBRATION_TOKENS)
    return Batch(
        input_ids=batch.input_ids[:1, :length],
        attention_mask=batch.attention_mask[:1, :length],
        last=batch.last[:1].clamp(max=length - 1),
        rows=batch.rows[:1],
    )
