"""A conversation -> the text of a prompt, by a chat template.

Templates are rendered by transformers, in its sandbox. The tokenizer's own comes first; where it
has none, ``template`` names one of ours or a Jinja file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import ProbeError, one_line, pass_on_foreign
from pytest_linearity.probes.conversations import Conversation, Dropped, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pytest_linearity.config.config import Config

Message = dict[str, Any]


@dataclass(frozen=True)
class Template:
    """A chat template."""

    name: str
    """``tokenizer`` for its own, or as the config names it."""
    jinja: str | None
    """Its text; ``None`` for the tokenizer's own."""
    writes_begin: bool
    """Whether it writes the special tokens that begin a prompt itself."""


def choose_template(config: Config, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The template of a run.

    Raises:
        ProbeError: If the tokenizer has none, and the config names none that there is.
    """
    if tokenizer.chat_template:
        return Template("tokenizer", None, writes_begin=True)
    templates = _known()
    if config.template is None:
        raise ProbeError(
            "template: the tokenizer has no chat template, so one must be named: "
            f"{', '.join(templates)}, or the path of a Jinja file"
        )
    if config.template in templates:
        return Template(config.template, templates[config.template], writes_begin=False)
    path = config.locate(config.template)
    if path is None or not path.is_file():
        raise ProbeError(
            f"template: the tokenizer has no chat template, and {config.template} is neither a "
            f"file nor one of {', '.join(templates)}"
        )
    try:
        return Template(config.template, path.read_text(encoding="utf-8"), writes_begin=True)
    except (OSError, ValueError) as error:
        raise ProbeError(f"template: {path} cannot be read: {one_line(error)}") from None


def render(
    tokenizer: PreTrainedTokenizerBase, template: Template, conversation: Conversation
) -> str:
    """The text of a prompt, up to and including the header of the assistant's next turn.

    Templates differ in the roles they know, and some leave out silently what they do not know. So
    the same conversation is offered in forms ever plainer, and the first is taken that renders
    with nothing left out; if there is none, the first that renders.

    Raises:
        Dropped: If the template refuses the conversation.
    """
    first, problem = None, None
    jinja = template.jinja or str(tokenizer.get_chat_template(tools=list(conversation.tools)))
    for messages, tools in _forms(conversation, jinja):
        try:
            text = str(
                tokenizer.apply_chat_template(
                    messages,
                    tools=tools,
                    chat_template=template.jinja,
                    add_generation_prompt=True,
                    tokenize=False,
                )
            )
        except Exception as error:  # a template may raise anything
            pass_on_foreign(error)
            problem = problem or error
            continue
        if _holds_all(text, conversation):
            return text
        first = text if first is None else first
    if first is None:
        raise Dropped(f"refused by the chat template ({one_line(problem or ValueError())})")
    return first


def _forms(
    conversation: Conversation, jinja: str
) -> Iterator[tuple[list[Message], list[Any] | None]]:
    """The conversation as it is, then in plain turns, then without a system message."""
    turns, tools = list(conversation.turns), list(conversation.tools)
    calls = any(turn.role == "function" for turn in turns)
    if ("tools" in jinja or not tools) and ("tool_calls" in jinja or not calls):
        yield [_native(turn) for turn in turns], tools or None
    system = [turn.content for turn in turns if turn.role == "system"]
    system += [json.dumps(tools, ensure_ascii=False, default=str)] if tools else []
    spoken = [_plain(turn) for turn in turns if turn.role != "system"]
    if not system:
        yield spoken, None
        return
    preface = "\n\n".join(system)
    yield [{"role": "system", "content": preface}, *spoken], None
    yield [{**spoken[0], "content": f"{preface}\n\n{spoken[0]['content']}"}, *spoken[1:]], None


def _native(turn: Turn) -> Message:
    """A turn as templates with tools expect it."""
    if turn.role == "observation":
        return {"role": "tool", "content": turn.content}
    calls = _parsed_calls(turn.content) if turn.role == "function" else []
    if calls:
        listed = [{"type": "function", "function": call} for call in calls]
        return {"role": "assistant", "content": "", "tool_calls": listed}
    return _plain(turn)


def _plain(turn: Turn) -> Message:
    """A turn as any template knows it."""
    role = {"observation": "user", "function": "assistant"}.get(turn.role, turn.role)
    return {"role": role, "content": turn.content}


def _parsed_calls(content: str) -> list[dict[str, Any]]:
    """The function calls in a turn; none when it is not their JSON."""
    try:
        calls = json.loads(content)
    except (ValueError, RecursionError):
        return []
    listed = calls if isinstance(calls, list) else [calls]
    whole = all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in listed)
    return [{"name": call["name"], "arguments": _arguments(call)} for call in listed if whole]


def _arguments(call: dict[str, Any]) -> Any:
    """The arguments of a call, which ``openai`` rows hold as JSON text and templates as objects."""
    arguments = call.get("arguments") or {}
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return arguments


def _holds_all(text: str, conversation: Conversation) -> bool:
    """Whether all that was said to the assistant is in the text; its own turns may be cut."""
    to_it = ("system", "user", "observation")
    return all(turn.content.strip() in text for turn in conversation.turns if turn.role in to_it)


@cache
def _known() -> dict[str, str]:
    """Our templates by name."""
    import yaml

    listing = files("pytest_linearity") / "data" / "templates.yaml"
    templates: dict[str, str] = yaml.safe_load(listing.read_text(encoding="utf-8"))
    return templates
