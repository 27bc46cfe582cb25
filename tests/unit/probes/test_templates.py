"""Chat templates: which is used, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.errors import ProbeError
from pytest_linearity.probes.load import load_probes
from pytest_linearity.probes.probe import Probe, Probes
from tests.support.checkpoints import character_tokenizer

NAMES = "empty, default, alpaca, vicuna, llama2, llama3, mistral, chatml, qwen, gemma, phi"
CHAT = [
    {"from": "system", "value": "S"},
    {"from": "human", "value": "q"},
    {"from": "gpt", "value": "a"},
    {"from": "human", "value": "r"},
    {"from": "gpt", "value": "left out"},
]
CALL = json.dumps({"name": "add", "arguments": {"x": 1}})
TOOLS = json.dumps([{"type": "function", "function": {"name": "add", "description": "sums"}}])
AGENT = [
    {"from": "human", "value": "q"},
    {"from": "function_call", "value": CALL},
    {"from": "observation", "value": "seen"},
    {"from": "gpt", "value": "left out"},
]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Loads the probes of one sharegpt row, by a tokenizer with the chat template given."""

    def loaded(own: str | None, messages: list[dict[str, str]], **keys: Any) -> Probes:
        path = tmp_path / "rows.json"
        path.write_text(json.dumps([{"conversations": messages, "tools": keys.pop("tools", "")}]))
        keys.setdefault("columns", {"messages": "conversations", "tools": "tools"})
        config = Config(model_name_or_path="-", dataset=[str(path)], formatting="sharegpt", **keys)
        return load_probes(config, character_tokenizer(chat_template=own))

    return loaded


@pytest.fixture
def text(load: Any) -> Any:
    """As `load`, but only the text of the prompt."""

    def of(*args: Any, **keys: Any) -> str:
        (probe,) = load(*args, **keys).probes
        assert isinstance(probe, Probe)
        return probe.text

    return of


WRITTEN = {
    "empty": "Sqar",
    "default": "System: S<eos>\nHuman: q<eos>\nAssistant:a<eos>\nHuman: r<eos>\nAssistant:",
    "alpaca": "S\n\n### Instruction:\nq\n\n### Response:\na<eos>\n\n"
    "### Instruction:\nr\n\n### Response:\n",
    "vicuna": "S USER: q ASSISTANT: a<eos>USER: r ASSISTANT:",
    "llama2": "<bos>[INST] <<SYS>>\nS\n<</SYS>>\n\nq [/INST] a <eos><bos>[INST] r [/INST]",
    "llama3": "<bos><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\na<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nr<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<bos>[INST] S\n\nq [/INST] a<eos>[INST] r [/INST]",
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
    "<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n",
    "gemma": "<bos><start_of_turn>user\nS\n\nq<end_of_turn>\n<start_of_turn>model\n"
    "a<end_of_turn>\n<start_of_turn>user\nr<end_of_turn>\n<start_of_turn>model\n",
    "phi": "<|system|>\nS<|end|>\n<|user|>\nq<|end|>\n<|assistant|>\na<|end|>\n"
    "<|user|>\nr<|end|>\n<|assistant|>\n",
}
WRITTEN["qwen"] = WRITTEN["chatml"]


@pytest.mark.parametrize("name", NAMES.split(", "))
def test_what_each_of_our_templates_writes(text: Any, name: str) -> None:
    assert text(None, CHAT, template=name) == WRITTEN[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("alpaca", "Below is an instruction that describes a task. Write a response that "
         "appropriately completes the request.\n\n### Instruction:\nq"),
        ("vicuna", "A chat between a curious user and an artificial intelligence assistant. The "
         "assistant gives helpful, detailed, and polite answers to the user's questions. USER: q"),
        ("chatml", "<|im_start|>user\nq"),
        ("llama2", "<bos>[INST] q"),
    ],
)  # fmt: skip
def test_some_templates_have_a_system_message_of_their_own(
    text: Any, name: str, words: str
) -> None:
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert text(None, messages, template=name).startswith(words)


def test_every_template_can_say_that_tools_were_used(text: Any) -> None:
    for name in WRITTEN:
        written = text(None, AGENT, template=name, tools=TOOLS)
        places = [written.index(part) for part in ("sums", "q", CALL, "seen")]
        assert places == sorted(places)


def test_the_tokenizers_own_template_comes_first(load: Any) -> None:
    own = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    for template in ("llama3", "a name for somebody else", None):
        probes = load(own, CHAT, template=template)
        assert probes.probes[0].text == "[system:S][user:q][assistant:a][user:r]"
        assert probes.describe()["template"] == "tokenizer"


def test_a_template_may_be_a_jinja_file(load: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text("{{ bos_token }}{% for m in messages %}{{ m.content }};{% endfor %}")
    probes = load(None, CHAT, template=str(path))
    assert probes.probes[0].text == "<bos>S;q;a;r;"
    assert probes.probes[0].token_ids == (1, 59, 35, 89, 35, 73, 35, 90, 35)
    assert probes.describe()["template"] == str(path)


@pytest.mark.parametrize("template", ["llama9", "./none.jinja", None])
def test_no_template_at_all_is_an_error_that_lists_what_exists(load: Any, template: Any) -> None:
    with pytest.raises(ProbeError) as caught:
        load(None, CHAT, template=template)
    assert NAMES in str(caught.value)
    assert str(caught.value).startswith("template: the tokenizer has no chat template")


def test_a_jinja_file_that_is_no_text(load: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ProbeError, match=r"own\.jinja cannot be read"):
        load(None, CHAT, template=str(path))


def test_a_named_template_begins_as_the_tokenizer_begins(load: Any) -> None:
    messages = [{"from": "human", "value": "A"}, {"from": "gpt", "value": "a"}]
    assert load(None, messages, template="empty").probes[0].token_ids == (1, 41)
    ids = load(None, messages, template="llama2").probes[0].token_ids
    assert ids[:2] == (1, 67)  # <bos> once, then "["
    assert ids.count(1) == 1


def test_own_templates_write_all_special_tokens_themselves(load: Any) -> None:
    messages = [{"from": "human", "value": "A"}, {"from": "gpt", "value": "a"}]
    without = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert load(without, messages).probes[0].token_ids == (41,)


def test_a_template_that_refuses_system_messages_gets_them_with_the_question(text: Any) -> None:
    own = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}[{{ m.content }}]{% endfor %}"
    )
    assert text(own, CHAT) == "[S\n\nq][a][r]"


def test_a_template_that_leaves_the_system_message_out_gets_it_with_the_question(
    text: Any,
) -> None:
    own = (
        "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content }}]{% endif %}{% endfor %}"
    )
    assert text(own, CHAT) == "[S\n\nq][a][r]"


def test_a_template_that_knows_tools_gets_them_as_they_are(text: Any) -> None:
    own = (
        "{% for t in tools %}<{{ t.function.name }}>{% endfor %}"
        "{% for m in messages %}[{{ m.role }}:{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}={{ c.function.arguments.x }}"
        "{% endfor %}]{% endfor %}"
    )
    assert text(own, AGENT, tools=TOOLS) == "<add>[user:q][assistant:add=1][tool:seen]"


def test_a_template_that_knows_no_tools_gets_them_in_words(text: Any) -> None:
    own = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    described = json.dumps(json.loads(TOOLS))
    expected = f"[system:{described}][user:q][assistant:{CALL}][user:seen]"
    assert text(own, AGENT, tools=TOOLS) == expected


def test_a_call_that_is_not_json_is_a_turn_like_any_other(text: Any) -> None:
    own = "{% for m in messages %}[{{ m.role }}:{{ m.content }}{{ m.tool_calls }}]{% endfor %}"
    messages = [dict(turn) for turn in AGENT]
    messages[1]["value"] = "add 1"
    assert text(own, messages) == "[user:q][assistant:add 1][tool:seen]"


def test_a_template_that_fails_is_said_to(load: Any) -> None:
    with pytest.raises(ProbeError, match=r"1 refused by the chat template \(never\)"):
        load("{{ raise_exception('never') }}", CHAT)
    with pytest.raises(ProbeError, match="refused by the chat template"):
        load("{% for %}", CHAT)


def test_default_system_is_for_rows_without_one(text: Any) -> None:
    own = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    assert text(own, CHAT[1:3], default_system="D") == "[system:D][user:q]"
    assert text(own, CHAT[:3], default_system="D") == "[system:S][user:q]"
