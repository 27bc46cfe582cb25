"""Which template writes the prompts: the tokenizer's own, one of ours by name, or a Jinja file."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol

from pytest_linearity.errors import ProbeError, one_line, shown
from pytest_linearity.probes.chat_templates import ChatTemplate
from pytest_linearity.probes.conversations import Conversation
from pytest_linearity.probes.named_templates import NamedTemplate, named_slots

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pytest_linearity.config.config import Config


class Template(Protocol):
    """Writes prompts."""

    @property
    def name(self) -> str:
        """``tokenizer`` for its own, or as the config names it."""

    def pieces(self, conversation: Conversation) -> list[str]:
        """The pieces of a prompt, each to be encoded by itself.

        They go up to and including the header of the assistant's next turn.

        Raises:
            Dropped: If the template refuses the conversation.
        """

    def tells_date(self, conversation: Conversation) -> bool:
        """Whether the prompt may say which day it is."""


@dataclass(frozen=True)
class Choice:
    """The template of a run, and the one that its config names besides."""

    used: Template
    """What writes the prompts."""
    passed_over: Template | None = None
    """What `template` names, where the tokenizer's own is used instead."""
    unknown: str | None = None
    """What `template` names, where that is the trainer's and is not written here."""


def choose_template(config: Config, tokenizer: PreTrainedTokenizerBase) -> Choice:
    """The template of a run.

    Raises:
        ProbeError: If the config names one that there is not, or none where one is needed.
    """
    own = bool(tokenizer.chat_template) and config.template_from == "tokenizer"
    named = None if config.template is None else _named(config, config.template, tokenizer)
    if own:
        used = _chat_template(config, "tokenizer", tokenizer, None)
        return Choice(used, named, config.template if named is None else None)
    lacking = (
        "template_from is config"
        if tokenizer.chat_template
        else "the tokenizer has no chat template"
    )
    if config.template is None:
        raise ProbeError(
            f"template: {lacking}, so one must be named: {', '.join(named_slots())}, or the path "
            "of a Jinja file"
        )
    if named is None:
        raise ProbeError(
            f"template: {lacking}, and {config.template}, a template of LLaMA-Factory, is not one "
            f"of those that are written here: {', '.join(named_slots())}; give it as a Jinja file"
        )
    return Choice(named)


def _named(config: Config, name: str, tokenizer: PreTrainedTokenizerBase) -> Template | None:
    """The template of a name; ``None`` for one of the trainer's that is not written here."""
    if name in named_slots():
        return NamedTemplate.of(
            named_slots()[name],
            tokenizer,
            default_system=config.default_system,
            date=datetime.date.fromisoformat(config.template_date),
            thinking=config.enable_thinking is not False,
        )
    path = config.locate(name)
    if path is None or not path.is_file():
        if name in _trainer_names():
            return None
        ours = ", ".join(named_slots())
        alike = difflib.get_close_matches(name, [*named_slots(), *_trainer_names()], n=1)
        meant = f"; did you mean {alike[0]}?" if alike else ""
        raise ProbeError(f"template: {shown(name)} is neither a file nor one of {ours}{meant}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ProbeError(f"template: {path} cannot be read: {one_line(error)}") from None
    return _chat_template(config, name, tokenizer, text)


def _chat_template(
    config: Config, name: str, tokenizer: PreTrainedTokenizerBase, jinja: str | None
) -> ChatTemplate:
    thinking = config.enable_thinking
    variables = {} if thinking is None else {"enable_thinking": thinking}
    return ChatTemplate(
        name,
        tokenizer,
        jinja,
        datetime.date.fromisoformat(config.template_date),
        {**variables, **(config.chat_template_kwargs or {})},
    )


def unread_variables(
    config: Config, template: Template, conversations: Sequence[Conversation]
) -> list[str]:
    """The keys whose values the template does not read for any conversation."""
    names = {f"chat_template_kwargs: {name}": name for name in config.chat_template_kwargs or {}}
    if not isinstance(template, ChatTemplate):
        return list(names)
    if config.enable_thinking is False:  # which is what templates do that know no thoughts, if true
        names["enable_thinking"] = "enable_thinking"
    return [
        key
        for key, name in names.items()
        if not any(template.names(name, said) for said in conversations)
    ]


@cache
def _trainer_names() -> tuple[str, ...]:
    """The templates that LLaMA-Factory 0.9.5 knows."""
    listing = files("pytest_linearity") / "data" / "trainer_templates.txt"
    return tuple(listing.read_text(encoding="utf-8").split())
