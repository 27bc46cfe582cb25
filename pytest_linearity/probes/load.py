"""Where prompts come from: the built-in ones, the config's own, or data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from pytest_linearity.checkpoint import hub
from pytest_linearity.errors import ProbeError
from pytest_linearity.probes.conversations import Dropped, conversation
from pytest_linearity.probes.data_sets import DataSet, find_data_sets
from pytest_linearity.probes.encoding import encode, pad_id
from pytest_linearity.probes.probe import Probe, Probes
from pytest_linearity.probes.rows import read_rows
from pytest_linearity.probes.templates import Template, choose_template, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pytest_linearity.config.config import Config


@dataclass(frozen=True)
class _Prompt:
    """The text of a prompt, or why a row gives none."""

    source: str
    row: int
    text: str
    begin: bool
    refused: str | None = None


def load_probes(
    config: Config, tokenizer: PreTrainedTokenizerBase, *, max_length: int | None = None
) -> Probes:
    """The prompts of a config as batches of token ids.

    Args:
        config: Names the prompts.
        tokenizer: Of the checkpoint.
        max_length: Longest prompt that the model has positions for; ``None`` for no such limit.

    Raises:
        ProbeError: If a data set cannot be found or read, or no prompt is left.

    Example:
        >>> from pytest_linearity import load_checkpoint, load_config
        >>> config = load_config("examples/arithmetic/linearity.yaml", ["max_samples=2"])
        >>> checkpoint = load_checkpoint(config)
        >>> probes = load_probes(config, checkpoint.tokenizer, max_length=checkpoint.max_length)
        >>> [len(probe.token_ids) for probe in probes.probes]
        [25, 25]
    """
    limit = min(config.cutoff_len, max_length or config.cutoff_len)
    template = choose_template(config, tokenizer) if config.dataset else None
    dropped: Counter[str] = Counter()
    probes = []
    with hub.quiet():
        for prompt in _prompts(config, tokenizer, template):
            ids = [] if prompt.refused else encode(tokenizer, prompt.text, begin=prompt.begin)
            if prompt.refused or not ids:
                dropped[prompt.refused or "with an empty prompt"] += 1
                continue
            kept = tuple(ids[-limit:])
            cut = len(ids) > limit
            probes.append(Probe(prompt.text, kept, prompt.source, prompt.row, cut))
    if not probes:
        counted = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise ProbeError(
            f"no prompt is left to measure: of the rows, {counted or 'there are none'}"
        )
    return Probes(
        probes=tuple(probes),
        batch_size=config.batch_size,
        pad_id=pad_id(tokenizer),
        cutoff_len=limit,
        dropped=dict(dropped),
        template=template.name if template else None,
    )


def _prompts(
    config: Config, tokenizer: PreTrainedTokenizerBase, template: Template | None
) -> Iterator[_Prompt]:
    if template is not None:
        for data_set in find_data_sets(config):
            yield from _of_data_set(config, tokenizer, template, data_set)
    elif config.prompts is not None:
        yield from _as_they_are("prompts", config.prompts)
    else:
        yield from _as_they_are("built-in", built_in_prompts())


def _as_they_are(source: str, texts: Iterable[str]) -> Iterator[_Prompt]:
    for row, text in enumerate(texts):
        blank = None if text.strip() else "with an empty prompt"
        yield _Prompt(source, row, text, begin=True, refused=blank)


def _of_data_set(
    config: Config, tokenizer: PreTrainedTokenizerBase, template: Template, data_set: DataSet
) -> Iterator[_Prompt]:
    rows = read_rows(
        data_set,
        max_samples=config.max_samples,
        seed=config.seed,
        cache_dir=config.cache_dir,
    )
    for number, row in rows:
        try:
            said = conversation(row, data_set.layout, config.default_system)
            text, refused = render(tokenizer, template, said), None
        except Dropped as reason:
            text, refused = "", str(reason)
        yield _Prompt(data_set.name, number, text, not template.writes_begin, refused)


def built_in_prompts() -> list[str]:
    """The prompts that are measured when a config names none."""
    import yaml

    listing = files("pytest_linearity") / "data" / "prompts.yaml"
    prompts: list[str] = yaml.safe_load(listing.read_text(encoding="utf-8"))
    return prompts
