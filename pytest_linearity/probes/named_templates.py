"""Templates by name, as LLaMA-Factory writes them: from a conversation to the pieces of a prompt.

Each piece is encoded by itself, as the trainer does, since a tokenizer may join what it is given as
one text, or put a space before what it is given apart.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from pytest_linearity.probes.calls import calls_in
from pytest_linearity.probes.conversations import Conversation, Turn
from pytest_linearity.probes.tool_formats import FORMATS, described, tells_date

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
_THOUGHT = re.compile(r"<think>\n.*?\n</think>\n\n", re.DOTALL)
_SEPARATOR = "\n</tool_response>\n<tool_response>\n"
"""What stands between the results of calls that were made together, whatever the template."""


@dataclass(frozen=True)
class Slots:
    """What is written for each message.

    ``{content}`` is the message, ``{bos}`` and ``{eos}`` are the tokenizer's.
    """

    name: str
    """Of the template."""
    user: str = "{content}"
    """For a question, on to the header of its answer."""
    assistant: str = "{content}{eos}"
    """For an answer."""
    system: str = "{content}"
    """For the system message."""
    observation: str | None = None
    """For what functions gave; ``None`` is as for a question."""
    function: str | None = None
    """For calls of functions; ``None`` is as for an answer."""
    prefix: str = ""
    """What begins a prompt."""
    default_system: str = ""
    """The system message where there is no other."""
    system_in_question: bool = False
    """Whether the system message stands within the first question."""
    tools: str = "default"
    """The format in which functions are described and called."""
    thinks: bool = False
    """Whether answers begin with a thought."""

    def of(self, role: str) -> str:
        """What is written for a message of a role."""
        if role == "observation":
            return self.user if self.observation is None else self.observation
        if role == "function":
            return self.assistant if self.function is None else self.function
        return {"user": self.user, "assistant": self.assistant, "system": self.system}[role]


@cache
def named_slots() -> Mapping[str, Slots]:
    """Our templates by name."""
    import yaml

    listing = files("pytest_linearity") / "data" / "templates.yaml"
    listed = yaml.safe_load(listing.read_text(encoding="utf-8"))
    return {name: Slots(name, **slots) for name, slots in listed.items()}


@dataclass(frozen=True)
class NamedTemplate:
    """One of our templates, with a tokenizer's special tokens."""

    slots: Slots
    """What it writes."""
    bos: str
    """What begins a text; empty where the tokenizer has no such token."""
    eos: str
    """What ends one."""
    date: datetime.date
    """Which day it is."""
    thinking: bool = True
    """Whether the answer may begin with a thought; if not, the prompt ends with an empty one."""

    @classmethod
    def of(
        cls,
        slots: Slots,
        tokenizer: PreTrainedTokenizerBase,
        *,
        default_system: str | None,
        date: datetime.date,
        thinking: bool,
    ) -> NamedTemplate:
        """A template for a tokenizer; a ``default_system`` of the config replaces its own."""
        if default_system is not None:
            slots = replace(slots, default_system=default_system)
        bos, eos = (str(token or "") for token in (tokenizer.bos_token, tokenizer.eos_token))
        return cls(slots, bos, eos, date, thinking)

    @property
    def name(self) -> str:
        """As configs name it."""
        return self.slots.name

    def tells_date(self, conversation: Conversation) -> bool:
        """Whether the prompt says which day it is."""
        return bool(conversation.tools) and tells_date(self.slots.tools)

    def pieces(self, conversation: Conversation) -> list[str]:
        """The prompt of a conversation, up to and including the header of the assistant's turn."""
        return [piece for piece in self._pieces(conversation) if piece]

    def _pieces(self, conversation: Conversation) -> Iterator[str]:
        turns = list(_joined(conversation.turns))
        system = turns.pop(0).content if turns[0].role == "system" else self.slots.default_system
        yield from self._filled(self.slots.prefix)
        preface = system
        if conversation.tools is not None:
            preface += described(self.slots.tools, conversation.tools, self.date)
        has_system = bool(system) or conversation.tools is not None
        inner = ""
        if has_system and self.slots.system_in_question:
            inner = "".join(self._filled(self.slots.system, preface))
        elif has_system:
            yield from self._filled(self.slots.system, preface)
        for place, turn in enumerate(turns):
            inside = inner if place == 0 and turn.role == "user" else ""
            yield from self._turn(turn, inside)
        if self.slots.thinks and not self.thinking:
            yield _EMPTY_THOUGHT

    def _turn(self, turn: Turn, inside: str) -> Iterator[str]:
        content = turn.content
        if turn.role in ("assistant", "function") and self.slots.thinks:
            if not self.thinking:
                content = _THOUGHT.sub("", content).lstrip("\n")
            if "<think>" not in content and "</think>" not in content:
                yield _EMPTY_THOUGHT
        if turn.role == "function":
            said, calls = calls_in(content)
            content = said + FORMATS[self.slots.tools].called(calls) if calls else content
        yield from self._filled(self.slots.of(turn.role), inside + content)

    def _filled(self, slot: str, content: str = "") -> list[str]:
        """A slot with a message in it, special tokens apart."""
        pieces = []
        for part in re.split(r"(\{bos\}|\{eos\})", slot):
            special = {"{bos}": self.bos, "{eos}": self.eos}.get(part)
            pieces.append(part.replace("{content}", content) if special is None else special)
        return pieces


def _joined(turns: tuple[Turn, ...]) -> Iterator[Turn]:
    """The turns, observations that follow each other as one."""
    waiting: list[str] = []
    for turn in turns:
        if turn.role == "observation":
            waiting.append(turn.content)
            continue
        if waiting:
            yield Turn("observation", _SEPARATOR.join(waiting))
            waiting = []
        yield turn
    if waiting:
        yield Turn("observation", _SEPARATOR.join(waiting))
