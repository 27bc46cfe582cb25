"""Where prompts come from: the built-in ones, the config's own, or data sets."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from pytest_linearity.checkpoint import hub
from pytest_linearity.config.config import ConfigWarning
from pytest_linearity.errors import ProbeError, shown_names
from pytest_linearity.probes.conversations import Conversation, Dropped, conversation
from pytest_linearity.probes.data_sets import DataSet, find_data_sets
from pytest_linearity.probes.encoding import encode_pieces, pad_id
from pytest_linearity.probes.probe import Probe, Probes
from pytest_linearity.probes.rows import read_rows
from pytest_linearity.probes.templates import (
    Choice,
    Template,
    choose_template,
    unread_variables,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pytest_linearity.config.config import Config


@dataclass(frozen=True)
class _Prompt:
    """The text of a prompt in the pieces that are encoded each by itself, or why there is none."""

    source: str
    row: int
    pieces: tuple[str, ...]
    begin: bool = False
    refused: str | None = None
    said: Conversation | None = None


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
    choice = choose_template(config, tokenizer) if config.dataset else None
    with hub.quiet():
        tried = [(each, _encoded(tokenizer, each)) for each in _prompts(config, choice)]
        kept = [(prompt, ids) for prompt, ids in tried if ids]
        dropped = Counter(prompt.refused or _EMPTY for prompt, ids in tried if not ids)
        said = [(prompt.said, ids) for prompt, ids in kept if prompt.said is not None]
        notes = _notes(config, tokenizer, choice, said)
    if not kept:
        counted = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        where = f"dataset: {shown_names(config.dataset)}: " if config.dataset else ""
        raise ProbeError(
            f"{where}no prompt is left to measure: of the rows, {counted or 'there are none'}"
        )
    _warn(config, notes)
    used = choice.used if choice else None
    dated = used is not None and any(used.tells_date(each) for each, _ in said)
    return Probes(
        probes=tuple(_probe(prompt, ids, limit) for prompt, ids in kept),
        batch_size=config.batch_size,
        pad_id=pad_id(tokenizer),
        cutoff_len=limit,
        dropped=dict(dropped),
        template=used.name if used else None,
        template_date=config.template_date if dated else None,
    )


_EMPTY = "with an empty prompt"


def _encoded(tokenizer: PreTrainedTokenizerBase, prompt: _Prompt) -> list[int]:
    """The token ids of a prompt; none where there is no prompt."""
    if prompt.refused is not None:
        return []
    return encode_pieces(tokenizer, prompt.pieces, begin=prompt.begin)


def _probe(prompt: _Prompt, ids: Sequence[int], limit: int) -> Probe:
    """A prompt as it is measured, cut to its last tokens where it is too long."""
    text, cut = "".join(prompt.pieces), len(ids) > limit
    return Probe(text, tuple(ids[-limit:]), prompt.source, prompt.row, cut)


def _warn(config: Config, notes: Iterable[str]) -> None:
    where = f"{config.source}: " if config.source else ""
    for note in notes:
        try:
            warnings.warn(f"{where}{note}", ConfigWarning, stacklevel=3)
        except ConfigWarning as error:  # where warnings are asked to be errors
            raise ProbeError(str(error)) from None


def _prompts(config: Config, choice: Choice | None) -> Iterator[_Prompt]:
    if choice is not None:
        for data_set in find_data_sets(config):
            yield from _of_data_set(config, choice.used, data_set)
    elif config.prompts is not None:
        yield from _as_they_are("prompts", config.prompts)
    else:
        yield from _as_they_are("built-in", built_in_prompts())


def _as_they_are(source: str, texts: Iterable[str]) -> Iterator[_Prompt]:
    for row, text in enumerate(texts):
        blank = None if text.strip() else _EMPTY
        yield _Prompt(source, row, (text,), begin=True, refused=blank)


def _of_data_set(config: Config, template: Template, data_set: DataSet) -> Iterator[_Prompt]:
    rows = read_rows(
        data_set,
        max_samples=config.max_samples,
        seed=config.seed,
        cache_dir=config.cache_dir,
    )
    for number, row in rows:
        try:
            said = conversation(row, data_set.layout, config.default_system)
            yield _Prompt(data_set.name, number, tuple(template.pieces(said)), said=said)
        except Dropped as reason:
            yield _Prompt(data_set.name, number, (), refused=str(reason))


def _notes(
    config: Config,
    tokenizer: PreTrainedTokenizerBase,
    choice: Choice | None,
    written: Sequence[tuple[Conversation, Sequence[int]]],
) -> list[str]:
    """What a person should be told of the template: another is named, something is not read."""
    if choice is None or not written:
        return []
    notes = []
    instead = "the tokenizer's own chat template writes the prompts instead"
    if choice.unknown is not None:
        notes.append(
            f"template: {choice.unknown} is not used: {instead}, and whether they differ is not "
            "known, as that template of LLaMA-Factory is not written here"
        )
    if choice.passed_over is not None:
        other = sum(not _same(tokenizer, choice.passed_over, said, ids) for said, ids in written)
        if other:
            notes.append(
                f"template: {choice.passed_over.name} is not used: {instead}, and {other} of "
                f"{len(written)} differ (template_from: config takes {choice.passed_over.name})"
            )
    unread = unread_variables(config, choice.used, [said for said, _ in written])
    notes += [
        f"{key} has no effect: the chat template ({choice.used.name}) does not read it"
        for key in unread
    ]
    return notes


def _same(
    tokenizer: PreTrainedTokenizerBase, template: Template, said: Conversation, ids: Sequence[int]
) -> bool:
    """Whether a template writes a prompt of these tokens."""
    try:
        return encode_pieces(tokenizer, template.pieces(said), begin=False) == list(ids)
    except Dropped:
        return False


def built_in_prompts() -> list[str]:
    """The prompts that are measured when a config names none."""
    import yaml

    listing = files("pytest_linearity") / "data" / "prompts.yaml"
    prompts: list[str] = yaml.safe_load(listing.read_text(encoding="utf-8"))
    return prompts
