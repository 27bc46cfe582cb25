"""The batches of a run, by their sizes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_linearity.errors import CheckpointError
from pytest_linearity.probes.batches import make_batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_linearity.config.config import Config

PROMPTS = 16
"""Prompts that are assumed where there is no tokenizer to make them."""
TOKENS = 64
"""Length of each of them."""


@dataclass(frozen=True)
class BatchSize:
    """A batch."""

    prompts: int
    """How many prompts."""
    length: int
    """Tokens of each, padding included."""

    @property
    def tokens(self) -> int:
        """Tokens of all."""
        return self.prompts * self.length


@dataclass(frozen=True)
class Workload:
    """All batches."""

    batches: tuple[BatchSize, ...]
    """Those of like length together; without the tokens that all share, if these are evaluated
    apart."""
    prefix: int
    """Tokens that all prompts begin with and that are evaluated once; 0 for none."""
    padded: bool
    """Whether a batch has padding."""
    assumed: bool
    """Whether number and length of the prompts are assumed, not read."""

    @property
    def prompts(self) -> int:
        """How many prompts."""
        return sum(batch.prompts for batch in self.batches)

    @property
    def tokens(self) -> int:
        """Tokens of all prompts, padding included, and of the shared prefix."""
        return sum(batch.tokens for batch in self.batches) + self.prefix


def workload_of(
    config: Config,
    place: Path,
    *,
    longest: int | None,
    shares: bool,
    prompts: int | None,
    tokens: int | None,
) -> Workload:
    """The batches of a config's prompts; assumed ones where there is no tokenizer.

    Args:
        config: Names the prompts.
        place: The checkpoint.
        longest: Longest prompt that the model has positions for; None for no such limit.
        shares: Whether the model can share a prefix.
        prompts: So many prompts instead of the config's.
        tokens: Of such a length.

    Raises:
        LinearityError: If the config's prompts cannot be read.
    """
    if prompts is None and tokens is None:
        try:
            return _real(config, place, longest, shares)
        except CheckpointError:
            if place.is_dir() and any(place.glob("tokenizer*")):
                raise  # there is one, and it is broken
    length = min(tokens or TOKENS, config.cutoff_len)
    return _workload([(0,) * length] * (prompts or PROMPTS), config, shares=False, assumed=True)


def _real(config: Config, place: Path, longest: int | None, shares: bool) -> Workload:
    from pytest_linearity.checkpoint.tokenizer import load_tokenizer
    from pytest_linearity.probes.load import load_probes

    tokenizer = load_tokenizer(config, place if place.is_dir() else place.parent)
    probes = load_probes(config, tokenizer, max_length=longest).probes
    return _workload([probe.token_ids for probe in probes], config, shares=shares, assumed=False)


def _workload(
    prompts: Sequence[Sequence[int]], config: Config, *, shares: bool, assumed: bool
) -> Workload:
    from pytest_linearity.probes.shared_prefix import shared_length, why_not

    common = shared_length(prompts) if shares and config.share_prefix else 0
    prefix = common if common and why_not(prompts, common) is None else 0
    made = make_batches(prompts, size=config.batch_size, pad_id=0)
    return Workload(
        tuple(BatchSize(len(b.rows), b.input_ids.shape[1] - prefix) for b in made),
        prefix,
        padded=any(not bool(batch.attention_mask.all()) for batch in made),
        assumed=assumed,
    )
