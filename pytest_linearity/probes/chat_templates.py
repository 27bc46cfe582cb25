"""Chat templates in Jinja, the tokenizer's own or a file: from a conversation to a prompt's text.

They are rendered by transformers, in its sandbox.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import ProbeError, one_line, pass_on_foreign
from pytest_linearity.probes.calls import as_objects, calls_in
from pytest_linearity.probes.conversations import Conversation, Dropped, Turn
from pytest_linearity.probes.tool_formats import bare, wrapped

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, Any]
_ANSWER = "7f3aTheAnswerOfTheAssistant9c1e"
"""Stands for an answer; nobody says it."""
_DIRECTIVES = (*"YmdHMSpBbAaIyjUWwufcxXeFDTRhGVsZz", *(f"-{letter}" for letter in "dmHIMSyj"))
_CLOCK = (
    "{% macro strftime_now(format) %}"
    "{%- set written = namespace(text=format) -%}"
    "{%- for directive, text in linearity_date.items() -%}"
    "{%- set written.text = written.text | replace(directive, text) -%}"
    "{%- endfor -%}"
    "{{- written.text -}}"
    "{% endmacro %}\n"
)
"""Put before a template that asks what day it is, so that its prompts are the same tomorrow."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template in Jinja."""

    name: str
    """``tokenizer`` for its own, or as the config names it."""
    tokenizer: PreTrainedTokenizerBase
    """Renders it."""
    jinja: str | None
    """Its text; ``None`` for the tokenizer's own."""
    date: datetime.date
    """Which day it is."""
    variables: Mapping[str, Any]
    """What else the template is given."""

    def tells_date(self, conversation: Conversation) -> bool:
        """Whether the template asks which day it is."""
        return "strftime_now" in self._text(conversation)

    def names(self, variable: str, conversation: Conversation) -> bool:
        """Whether the template reads a variable."""
        return variable in self._text(conversation)

    def pieces(self, conversation: Conversation) -> list[str]:
        """The prompt, up to and including the header of the assistant's next turn, as one piece.

        Templates differ in the roles they know, and some leave out silently what they do not know.
        So the same conversation is offered in forms ever plainer, and the first is taken that
        renders with nothing left out; if there is none, the first that renders.

        Raises:
            Dropped: If the template refuses the conversation.
        """
        first, problem = None, None
        jinja = self._text(conversation)
        for messages, ways in _forms(conversation, jinja):
            texts = []
            for tools in ways:
                try:
                    texts.append(self._rendered(jinja, messages, tools))
                except Exception as error:  # a template may raise anything
                    pass_on_foreign(error)
                    problem = problem or error
            if not texts:
                continue
            text = max(texts, key=lambda text: _times_named(text, conversation))
            if _holds_all(text, conversation):
                return [text]
            first = text if first is None else first
        if first is None:
            raise Dropped(f"refused by the chat template ({one_line(problem or ValueError())})")
        return [first]

    def _text(self, conversation: Conversation) -> str:
        """The text of the template; a tokenizer may have several, one of them for tools.

        Raises:
            ProbeError: If it has several, and none is for every conversation.
        """
        if self.jinja is not None:
            return self.jinja
        tools = list(conversation.tools or ()) or None
        try:
            return str(self.tokenizer.get_chat_template(tools=tools))
        except ValueError:
            listed = ", ".join(sorted(map(str, dict(self.tokenizer.chat_template or {}))))
            raise ProbeError(
                f"template: the tokenizer has several chat templates ({listed}) and none of them "
                "is the default: save one as a Jinja file, and name it here with "
                "template_from: config"
            ) from None

    def _rendered(self, jinja: str, messages: list[Message], tools: list[Any] | None) -> str:
        """The text of a prompt.

        Where a template writes no header by itself, it is what stands before an answer.
        """
        if "add_generation_prompt" in jinja:
            return self._applied(jinja, messages, tools, header=True)
        answered = [*messages, {"role": "assistant", "content": _ANSWER}]
        try:
            before, answer, _ = self._applied(jinja, answered, tools).rpartition(_ANSWER)
        except Exception as error:  # a template may raise anything; it may know questions alone
            pass_on_foreign(error)
            answer = ""
        # A space before an answer is part of the answer's first token.
        return before.rstrip(" ") if answer else self._applied(jinja, messages, tools, header=True)

    def _applied(
        self, jinja: str, messages: list[Message], tools: list[Any] | None, *, header: bool = False
    ) -> str:
        clock = {}
        if "strftime_now" in jinja:
            jinja = _CLOCK + jinja
            clock = {"linearity_date": _written(self.date)}
        return str(
            self.tokenizer.apply_chat_template(
                messages,
                tools=tools,
                chat_template=jinja,
                add_generation_prompt=header,
                tokenize=False,
                **{**self.variables, **clock},
            )
        )


def _written(date: datetime.date) -> dict[str, str]:
    """Each directive of ``strftime`` and what it writes for the start of a day."""
    start = datetime.datetime.combine(date, datetime.time())
    written = {f"%{directive}": start.strftime(f"%{directive}") for directive in _DIRECTIVES}
    return {"%%": "\0", **written, "\0": "%"}


def _forms(
    conversation: Conversation, jinja: str
) -> Iterator[tuple[list[Message], list[list[Any] | None]]]:
    """The conversation as it is, then in plain turns, then without a system message.

    Each comes with the ways in which tools may be described to the template.
    """
    turns, tools = list(conversation.turns), list(conversation.tools or ())
    calls = any(turn.role == "function" for turn in turns)
    if ("tools" in jinja or not tools) and ("tool_calls" in jinja or not calls):
        ways: list[list[Any] | None] = [
            [dict(way(tool)) for tool in tools] for way in (wrapped, bare)
        ]
        yield [_native(turn) for turn in turns], ways if tools else [None]
    system = [turn.content for turn in turns if turn.role == "system"]
    system += [json.dumps(tools, ensure_ascii=False, default=str)] if tools else []
    spoken = _plain_turns(turns)
    if not system:
        yield spoken, [None]
        return
    preface = "\n\n".join(system)
    yield [{"role": "system", "content": preface}, *spoken], [None]
    yield [{**spoken[0], "content": f"{preface}\n\n{spoken[0]['content']}"}, *spoken[1:]], [None]


def _native(turn: Turn) -> Message:
    """A turn as templates with tools expect it."""
    if turn.role == "observation":
        return {"role": "tool", "content": turn.content}
    said, calls = calls_in(turn.content) if turn.role == "function" else ("", [])
    if not calls:
        return _plain(turn)
    listed = [
        {"type": "function", "function": {"name": c.name, "arguments": as_objects(c.arguments)}}
        for c in calls
    ]
    return {"role": "assistant", "content": said, "tool_calls": listed}


def _plain_turns(turns: list[Turn]) -> list[Message]:
    """Turns without the system's as any template knows them: user and assistant by turns."""
    spoken: list[Message] = []
    before = ""
    for turn in turns:
        if turn.role == "system":
            continue
        if turn.role == before == "observation":
            spoken[-1]["content"] += f"\n{turn.content}"
        else:
            spoken.append(_plain(turn))
        before = turn.role
    return spoken


def _plain(turn: Turn) -> Message:
    role = {"observation": "user", "function": "assistant"}.get(turn.role, turn.role)
    return {"role": role, "content": turn.content}


def _times_named(text: str, conversation: Conversation) -> int:
    """How often tools are called by their names in a text.

    A template that expects them otherwise than they are described to it leaves the names out.
    """
    return sum(text.count(name) for name in _names(conversation))


def _names(conversation: Conversation) -> list[str]:
    named = [bare(tool).get("name") for tool in conversation.tools or ()]
    return [name for name in named if isinstance(name, str) and name]


def _holds_all(text: str, conversation: Conversation) -> bool:
    """Whether all that was said to the assistant is in the text; its own turns may be cut."""
    to_it = ("system", "user", "observation")
    said = [turn.content.strip() for turn in conversation.turns if turn.role in to_it]
    return all(part in text for part in [*said, *_names(conversation)])
