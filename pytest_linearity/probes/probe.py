"""A prompt as it is measured, and all the prompts of a run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import shown_names
from pytest_linearity.probes.batches import make_batches

if TYPE_CHECKING:
    from pytest_linearity.probes.batches import Batch


@dataclass(frozen=True)
class Probe:
    """One prompt; its last token's logits are what is measured."""

    text: str
    """The prompt, uncut."""
    token_ids: tuple[int, ...]
    """Its tokens, of which a prompt that was too long keeps the last."""
    source: str
    """Name of its data set; ``built-in`` or ``prompts`` for a prompt of no data set."""
    row: int
    """Its place there, from 0."""
    cut: bool = False
    """Whether it was too long."""

    @property
    def hash(self) -> str:
        """Short SHA-256 of the token ids: equal for equal inputs of the model."""
        joined = ",".join(map(str, self.token_ids))
        return hashlib.sha256(joined.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Probes:
    """All the prompts of a run."""

    probes: tuple[Probe, ...]
    """In the order of their sources."""
    batch_size: int
    """Prompts per batch."""
    pad_id: int
    """Token that fills a batch up, behind the prompts that are shorter than its longest."""
    cutoff_len: int
    """Longest prompt, in tokens."""
    dropped: Mapping[str, int]
    """How many rows were left out, by reason."""
    template: str | None
    """Which chat template was used; ``None`` for prompts taken as they are."""
    template_date: str | None = None
    """The day that the template was told it is; ``None`` where it does not ask."""

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The prompts, those of like length together."""
        return self._batches(padded=True)

    @cached_property
    def unpadded(self) -> tuple[Batch, ...]:
        """The prompts, only those of the same length together."""
        return self._batches(padded=False)

    def _batches(self, *, padded: bool) -> tuple[Batch, ...]:
        ids = [probe.token_ids for probe in self.probes]
        return make_batches(ids, size=self.batch_size, pad_id=self.pad_id, padded=padded)

    def describe(self) -> dict[str, Any]:
        """What the report says of them, so that two runs can be compared row by row."""
        return {
            "summary": self.summary(),
            "count": len(self.probes),
            "dropped": dict(self.dropped),
            "cut": self._cut,
            "cutoff_len": self.cutoff_len,
            "template": self.template,
            "template_date": self.template_date,
            "digest": self.digest,
            "rows": [
                {
                    "dataset": probe.source,
                    "row": probe.row,
                    "tokens": len(probe.token_ids),
                    "hash": probe.hash,
                }
                for probe in self.probes
            ],
        }

    @property
    def digest(self) -> str:
        """SHA-256 of all token ids: equal for the same inputs of the model in the same order."""
        ids = [probe.token_ids for probe in self.probes]
        return hashlib.sha256(repr(ids).encode()).hexdigest()

    def summary(self) -> str:
        """One line for people: which prompts, how many, and what was dropped or cut."""
        parts = [self._sources()]
        if self.template_date is not None:
            parts.append(f"dated {self.template_date}")
        if self.dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
            parts.append(f"{_count(sum(self.dropped.values()), 'row')} dropped ({reasons})")
        if self._cut:
            parts.append(f"{self._cut} cut to the last {_count(self.cutoff_len, 'token')}")
        return ", ".join(parts)

    def _sources(self) -> str:
        """How many prompts are from where."""
        total = len(self.probes)
        counts = Counter(probe.source for probe in self.probes)
        if "built-in" in counts and self.template is None:
            return _count(total, "built-in prompt")
        if "prompts" in counts and self.template is None:
            return f"{_count(total, 'prompt')} of the config"
        if len(counts) == 1:
            return f"{_count(total, 'prompt')} of {shown_names(counts)}"
        parts = [f"{count} of {shown_names([name])}" for name, count in counts.items()]
        return f"{_count(total, 'prompt')}: {', '.join(parts)}"

    @property
    def _cut(self) -> int:
        return sum(probe.cut for probe in self.probes)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
