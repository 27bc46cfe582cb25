"""Chat templates: which is used, and what it writes."""

from __future__ import annotations

import datetime
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config, ConfigWarning
from pytest_linearity.errors import ConfigError, ProbeError
from pytest_linearity.probes.conversations import Conversation, Turn
from pytest_linearity.probes.encoding import encode_pieces
from pytest_linearity.probes.load import load_probes
from pytest_linearity.probes.named_templates import NamedTemplate, named_slots
from pytest_linearity.probes.probe import Probe, Probes
from tests.support.checkpoints import character_tokenizer

NAMES = (
    "empty, default, alpaca, vicuna, llama2, llama3, llama4, mistral, chatml, qwen, qwen3, "
    "qwen3_nothink, gemma, gemma2, gemma3, phi, phi4, deepseek3, deepseekr1"
)
CHAT = [
    {"from": "system", "value": "S"},
    {"from": "human", "value": "q"},
    {"from": "gpt", "value": "a"},
    {"from": "human", "value": "r"},
    {"from": "gpt", "value": "left out"},
]
EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
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
    "alpaca": "S### Instruction:\nq\n\n### Response:\na<eos>\n\n"
    "### Instruction:\nr\n\n### Response:\n",
    "vicuna": "SUSER: q ASSISTANT:a<eos>USER: r ASSISTANT:",
    "llama2": "<bos>[INST] <<SYS>>\nS\n<</SYS>>\n\nq [/INST]a<eos><bos>[INST] r [/INST]",
    "llama3": "<bos><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\na<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nr<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<bos>[INST] S\n\nq[/INST] a<eos>[INST] r[/INST]",
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
    "<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n",
    "gemma": "<bos><start_of_turn>user\nS\n\nq<end_of_turn>\n<start_of_turn>model\n"
    "a<end_of_turn>\n<start_of_turn>user\nr<end_of_turn>\n<start_of_turn>model\n",
    "phi": "<|system|>\nS<|end|>\n<|user|>\nq<|end|>\n<|assistant|>\na<|end|>\n"
    "<|user|>\nr<|end|>\n<|assistant|>\n",
}
WRITTEN["llama4"] = (
    WRITTEN["llama3"]
    .replace("_header_id", "_header")
    .replace("start_header", "header_start")
    .replace("end_header", "header_end")
    .replace("eot_id", "eot")
)
WRITTEN["qwen"] = WRITTEN["qwen3_nothink"] = WRITTEN["chatml"]
WRITTEN["qwen3"] = WRITTEN["chatml"].replace("\na<", f"\n{EMPTY_THOUGHT}a<")
WRITTEN["gemma2"] = WRITTEN["gemma3"] = WRITTEN["gemma"]
WRITTEN["phi4"] = (
    "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>q<|im_end|>"
    "<|im_start|>assistant<|im_sep|>a<|im_end|><|im_start|>user<|im_sep|>r<|im_end|>"
    "<|im_start|>assistant<|im_sep|>"
)
WRITTEN["deepseek3"] = "<bos>S<｜User｜>q<｜Assistant｜>a<eos><｜User｜>r<｜Assistant｜>"
WRITTEN["deepseekr1"] = WRITTEN["deepseek3"].replace(">a", f">{EMPTY_THOUGHT}a")


@pytest.mark.parametrize("name", NAMES.split(", "))
def test_what_each_of_our_templates_writes(text: Any, name: str) -> None:
    assert text(None, CHAT, template=name) == WRITTEN[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("alpaca", "Below is an instruction that describes a task. Write a response that "
         "appropriately completes the request.\n\n### Instruction:\nq"),
        ("vicuna", "A chat between a curious user and an artificial intelligence assistant. The "
         "assistant gives helpful, detailed, and polite answers to the user's questions.USER: q"),
        ("qwen", "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
         "assistant.<|im_end|>\n<|im_start|>user\nq"),
        ("qwen3", "<|im_start|>user\nq"),
        ("chatml", "<|im_start|>user\nq"),
        ("llama2", "<bos>[INST] q"),
    ],
)  # fmt: skip
def test_some_templates_have_a_system_message_of_their_own(
    text: Any, name: str, words: str
) -> None:
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert text(None, messages, template=name).startswith(words)


def test_a_default_system_replaces_the_templates_own(text: Any) -> None:
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert text(None, messages, template="alpaca", default_system="D").startswith("D### Instr")
    assert text(None, messages, template="alpaca", default_system="").startswith("### Instr")
    assert text(None, messages, template="qwen", default_system="").startswith("<|im_start|>user")


def test_every_template_can_say_that_tools_were_used(text: Any) -> None:
    for name in WRITTEN:
        written = text(None, AGENT, template=name, tools=TOOLS)
        assert written.index("sums") < written.rindex("add") < written.rindex("seen")


DESCRIBED = json.dumps(json.loads(TOOLS)[0])
TOLD = (
    f"<bos>[INST] [AVAILABLE_TOOLS] [{DESCRIBED}][/AVAILABLE_TOOLS]\n\nq[/INST]"
    '[TOOL_CALLS] [{"name": "add", "arguments": {"x": 1}}]<eos>'
    '[TOOL_RESULTS] {"content": seen}[/TOOL_RESULTS]'
)


def test_tools_as_mistral_is_told_of_them(text: Any) -> None:
    assert text(None, AGENT, template="mistral", tools=TOOLS) == TOLD
    bare = json.dumps([json.loads(TOOLS)[0]["function"]])
    assert text(None, AGENT, template="mistral", tools=bare) == TOLD


def test_an_empty_list_of_tools_is_not_nothing(text: Any) -> None:
    """The trainer writes the header of a system message for it."""
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    asked = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
    assert text(None, messages, template="chatml", tools="") == asked
    said = text(None, messages, template="chatml", tools="[]")
    assert said == f"<|im_start|>system\n<|im_end|>\n{asked}"


def test_results_of_calls_made_together_are_one_turn_of_a_named_template(
    tmp_path: Path,
) -> None:
    probes = openai(tmp_path, None, template="qwen3")
    assert probes.probes[0].text == (
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
        f"{EMPTY_THOUGHT}<tool_call>\n{CALL_TEXT}\n</tool_call>\n"
        f"<tool_call>\n{CALL_TEXT}\n</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n"
        "</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


CALL_TEXT = '{"name": "add", "arguments": {"x": 1}}'


def openai(directory: Path, own: str | None, **keys: Any) -> Probes:
    """The probes of one openai row that calls a function twice at once."""
    call = {"type": "function", "function": {"name": "add", "arguments": {"x": 1}}}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "content": "one"},
        {"role": "tool", "content": "two"},
        {"role": "assistant", "content": "left out"},
    ]
    path = directory / "rows.json"
    path.write_text(json.dumps([{"messages": messages}]))
    config = Config(model_name_or_path="-", dataset=[str(path)], formatting="openai", **keys)
    return load_probes(config, character_tokenizer(chat_template=own))


def test_results_of_calls_made_together_are_a_turn_each_of_a_chat_template(tmp_path: Path) -> None:
    own = (
        "{% for m in messages %}[{{ m.role }}:{{ m.content }}{{ m.tool_calls | length }}]"
        "{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    (probe,) = openai(tmp_path, own).probes
    assert probe.text == "[user:q0][assistant:2][tool:one0][tool:two0]>"


def test_a_system_message_that_stands_in_the_question_needs_one(text: Any) -> None:
    """Where a result comes first, the trainer leaves the system message out."""
    messages = [CHAT[0], {"from": "observation", "value": "o"}, {"from": "gpt", "value": "a"}]
    assert text(None, messages, template="mistral") == (
        '<bos>[TOOL_RESULTS] {"content": o}[/TOOL_RESULTS]'
    )
    assert text(None, messages, template="chatml").startswith("<|im_start|>system\nS<|im_end|>")


def test_pieces_are_encoded_each_by_itself(load: Any) -> None:
    """As the trainer does; what a tokenizer joins or puts before a text depends on it."""
    from tokenizers import normalizers

    tokenizer = character_tokenizer(chat_template=None)
    tokenizer.backend_tokenizer.normalizer = normalizers.Prepend("_")
    slots = named_slots()["llama2"]
    template = NamedTemplate.of(
        slots, tokenizer, default_system=None, date=datetime.date(2024, 1, 1), thinking=True
    )
    turns = (Turn("user", "q"), Turn("assistant", "a"), Turn("user", "r"))
    pieces = template.pieces(Conversation(turns))
    assert pieces == ["<bos>", "[INST] q [/INST]", "a", "<eos>", "<bos>", "[INST] r [/INST]"]
    ids = encode_pieces(tokenizer, pieces, begin=False)
    assert tokenizer.decode(ids) == "<bos>_[INST] q [/INST]_a<eos><bos>_[INST] r [/INST]"


OWN = (
    "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    "{% if add_generation_prompt %}[assistant:{% endif %}"
)


@pytest.mark.filterwarnings("ignore::pytest_linearity.config.config.ConfigWarning")
def test_the_tokenizers_own_template_comes_first(load: Any) -> None:
    for template in ("llama3", "glm4", None):
        probes = load(OWN, CHAT, template=template)
        assert probes.probes[0].text == "[system:S][user:q][assistant:a][user:r][assistant:"
        assert probes.describe()["template"] == "tokenizer"


def test_a_named_template_that_is_passed_over_is_warned_about(load: Any) -> None:
    with pytest.warns(ConfigWarning) as caught:
        load(OWN, CHAT, template="llama3")
    (warning,) = caught
    assert str(warning.message) == (
        "template: llama3 is not used: the tokenizer's own chat template writes the prompts "
        "instead, and 1 of 1 differ (template_from: config takes llama3)"
    )
    with pytest.warns(ConfigWarning, match="glm4 is not used.* is not known") as caught:
        load(OWN, CHAT, template="glm4")
    assert len(caught) == 1


def test_a_named_template_that_writes_the_same_is_not_warned_about(load: Any) -> None:
    own = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probes = load(own, CHAT, template="chatml")
    assert probes.probes[0].text == WRITTEN["chatml"]


def test_the_named_template_may_come_first(load: Any) -> None:
    probes = load(OWN, CHAT, template="llama3", template_from="config")
    assert probes.probes[0].text == WRITTEN["llama3"]
    assert probes.describe()["template"] == "llama3"


def test_a_template_that_should_come_first_and_is_not_named(load: Any) -> None:
    with pytest.raises(ConfigError, match="template_from: is config, but no template is named"):
        load(OWN, CHAT, template_from="config")


@pytest.mark.parametrize("own", [OWN, None])
@pytest.mark.parametrize(
    ("template", "meant"), [("lama3", "llama3"), ("qwen_3", "qwen3"), ("glm-4", "glm4")]
)
def test_an_unknown_template_is_refused(
    load: Any, own: str | None, template: str, meant: str
) -> None:
    with pytest.raises(ProbeError) as caught:
        load(own, CHAT, template=template)
    assert str(caught.value) == (
        f"template: '{template}' is neither a file nor one of {NAMES}; did you mean {meant}?"
    )


def test_a_template_of_the_trainers_that_is_not_written_here_is_said_to_be(load: Any) -> None:
    for own, lacking in ((None, "the tokenizer has no chat template"),
                         (OWN, "template_from is config")):  # fmt: skip
        with pytest.raises(ProbeError, match=f"template: {lacking}, and glm4, a template of LLaMA"):
            load(own, CHAT, template="glm4", template_from="config")


def test_a_template_may_be_a_jinja_file(load: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text("{{ bos_token }}{% for m in messages %}{{ m.content }};{% endfor %}")
    probes = load(None, CHAT, template=str(path))
    assert probes.probes[0].text == "<bos>S;q;a;r;"
    assert probes.probes[0].token_ids == (1, 59, 35, 89, 35, 73, 35, 90, 35)
    assert probes.describe()["template"] == str(path)


@pytest.mark.parametrize("template", ["none-such", "./none.jinja", None])
def test_no_template_at_all_is_an_error_that_lists_what_exists(load: Any, template: Any) -> None:
    with pytest.raises(ProbeError) as caught:
        load(None, CHAT, template=template)
    assert NAMES in str(caught.value)
    assert str(caught.value).startswith("template: ")
    assert "did you mean" not in str(caught.value)


def test_a_jinja_file_that_is_no_text(load: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ProbeError, match=r"own\.jinja cannot be read"):
        load(None, CHAT, template=str(path))


def test_a_named_template_begins_as_the_trainer_begins(load: Any) -> None:
    """Whatever the tokenizer puts before a text."""
    messages = [{"from": "human", "value": "A"}, {"from": "gpt", "value": "a"}]
    assert load(None, messages, template="empty").probes[0].token_ids == (41,)
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
    assert text(own, CHAT) == "[S\n\nq][a][r]["


def test_a_template_that_leaves_the_system_message_out_gets_it_with_the_question(
    text: Any,
) -> None:
    own = (
        "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content }}]{% endif %}{% endfor %}"
    )
    assert text(own, CHAT) == "[S\n\nq][a][r]["


TOOLED = (
    "{% for t in tools %}<{{ t.function.name }}>{% endfor %}"
    "{% for m in messages %}[{{ m.role }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}={{ c.function.arguments.x }}"
    "{% endfor %}]{% endfor %}{% if add_generation_prompt %}>{% endif %}"
)


@pytest.mark.parametrize("wrap", [True, False])
def test_a_template_that_knows_tools_gets_them_as_it_expects_them(text: Any, wrap: bool) -> None:
    tools = TOOLS if wrap else json.dumps([json.loads(TOOLS)[0]["function"]])
    assert text(TOOLED, AGENT, tools=tools) == "<add>[user:q][assistant:add=1][tool:seen]>"


def test_a_template_that_expects_bare_functions_gets_those(text: Any) -> None:
    own = TOOLED.replace("t.function.name", "t.name")
    assert text(own, AGENT, tools=TOOLS) == "<add>[user:q][assistant:add=1][tool:seen]>"


def test_arguments_as_json_text_are_objects_for_a_chat_template(text: Any) -> None:
    agent = [dict(turn) for turn in AGENT]
    agent[1]["value"] = json.dumps([{"name": "add", "arguments": '{"x": 1}'}])
    assert text(TOOLED, agent, tools=TOOLS) == "<add>[user:q][assistant:add=1][tool:seen]>"


def test_a_template_that_knows_no_tools_gets_them_in_words(text: Any) -> None:
    described = json.dumps(json.loads(TOOLS))
    expected = f"[system:{described}][user:q][assistant:{CALL}][user:seen][assistant:"
    assert text(OWN, AGENT, tools=TOOLS) == expected


def test_a_call_that_is_not_json_is_a_turn_like_any_other(text: Any) -> None:
    own = OWN.replace("m.content }}", "m.content }}{{ m.tool_calls }}")
    messages = [dict(turn) for turn in AGENT]
    messages[1]["value"] = "add 1"
    assert text(own, messages) == "[user:q][assistant:add 1][tool:seen][assistant:"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
            "{% endfor %}",
            "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
            "{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}"
            "{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
            "<bos>[INST] q [/INST]",
        ),
        (
            "{% if messages[-1].role != 'assistant' %}{{ raise_exception('no answer') }}{% endif %}"
            "{% for m in messages %}({{ m.role }}){{ m.content }}{% endfor %}",
            "(user)q(assistant)",
        ),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}=>{% endfor %}", "q=>"),
    ],
)
def test_a_template_that_writes_no_header_by_itself(text: Any, own: str, expected: str) -> None:
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert text(own, messages) == expected


def test_the_default_of_several_templates_is_used(load: Any) -> None:
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    several: Any = {"default": OWN, "rag": "no"}
    assert load(several, messages).probes[0].text == "[user:q][assistant:"
    several["tool_use"] = TOOLED
    assert load(several, messages, tools="[]").probes[0].text == "[user:q][assistant:"
    assert load(several, messages, tools=TOOLS).probes[0].text == "<add>[user:q]>"
    del several["default"]
    with pytest.raises(
        ProbeError, match=r"template: the tokenizer has several .*\(rag, tool_use\) and none"
    ):
        load(several, messages)


THINKING = (
    "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    "{% if add_generation_prompt %}>{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{{ effort }}{% endif %}"
)


def test_what_the_trainer_says_of_thoughts_is_said_to_the_template(text: Any) -> None:
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert text(THINKING, messages) == "[q]>"
    assert text(THINKING, messages, enable_thinking=True) == "[q]>"
    assert text(THINKING, messages, enable_thinking=False) == f"[q]>{EMPTY_THOUGHT}"


@pytest.mark.parametrize(("thinking", "end"), [(None, ""), (True, ""), (False, EMPTY_THOUGHT)])
def test_what_is_said_of_thoughts_to_a_named_template(text: Any, thinking: Any, end: str) -> None:
    messages = [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "<think>\nhm\n</think>\n\na"},
        *CHAT[3:],
    ]
    written = text(None, messages, template="qwen3", enable_thinking=thinking)
    before = EMPTY_THOUGHT if thinking is False else "<think>\nhm\n</think>\n\n"
    assert f"assistant\n{before}a<|im_end|>" in written
    assert written.endswith(f"r<|im_end|>\n<|im_start|>assistant\n{end}")
    nothink = text(None, messages, template="qwen3_nothink", enable_thinking=thinking)
    assert nothink.endswith("assistant\n")


def test_a_thought_is_taken_out_with_the_lines_behind_it(text: Any) -> None:
    messages = [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "<think>\nhm\n</think>\n\n\n\na"},
        *CHAT[3:],
    ]
    written = text(None, messages, template="qwen3", enable_thinking=False)
    assert f"assistant\n{EMPTY_THOUGHT}a<|im_end|>" in written


def test_chat_template_kwargs_are_passed_on(text: Any) -> None:
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    keys: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False, "effort": "high"}}
    assert text(THINKING, messages, **keys) == f"[q]>{EMPTY_THOUGHT}high"
    # what is said here is nearer to the template than what is said for the trainer
    assert text(THINKING, messages, enable_thinking=True, **keys) == f"[q]>{EMPTY_THOUGHT}high"


@pytest.mark.parametrize(("own", "used"), [(THINKING, "tokenizer"), (None, "llama3")])
def test_chat_template_kwargs_that_no_template_reads_are_warned_about(
    load: Any, own: str | None, used: str
) -> None:
    keys = {"chat_template_kwargs": {"efort": 1}, "template": None if own else "llama3"}
    with pytest.warns(ConfigWarning) as caught:
        load(own, CHAT, **keys)
    (warning,) = caught
    assert str(warning.message) == (
        f"chat_template_kwargs: efort has no effect: the chat template ({used}) does not read it"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConfigWarning)
        with pytest.raises(ProbeError, match="chat_template_kwargs: efort has no effect"):
            load(own, CHAT, **keys)


def test_a_template_that_knows_no_thoughts_is_said_to(load: Any) -> None:
    with pytest.warns(ConfigWarning, match="^enable_thinking has no effect: the chat template"):
        load(OWN, CHAT, enable_thinking=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(OWN, CHAT, enable_thinking=True)
        load(None, CHAT, template="qwen", enable_thinking=False)  # nor does the trainer's


DATED = (
    "{%- if strftime_now is defined %}{% set today = strftime_now('%d %b %Y|%Y-%m-%d|%%d|%-m') %}"
    "{% endif %}{{ today }}{% for m in messages %}[{{ m.content }}]{% endfor %}"
    "{% if add_generation_prompt %}>{% endif %}"
)


def test_a_template_that_asks_for_the_date_is_told_one(load: Any) -> None:
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    probes = load(DATED, messages)
    assert probes.probes[0].text == "26 Jul 2024|2024-07-26|%d|7[q]>"
    assert probes.describe()["template_date"] == "2024-07-26"
    assert probes.summary().endswith(", dated 2024-07-26")
    other = load(DATED, messages, template_date=datetime.date(2031, 12, 1))
    assert other.probes[0].text == "01 Dec 2031|2031-12-01|%d|12[q]>"
    assert other.digest != probes.digest


def test_a_date_changes_nothing_else_of_a_template(load: Any) -> None:
    own = "\n A{% for m in messages %}\n{{ m.content }}{% endfor %}{# add_generation_prompt #}"
    messages = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    plain = load(own, messages)
    dated = load(own + "{# strftime_now #}", messages)
    assert dated.probes[0].text == plain.probes[0].text == "\n Aq"


def test_a_template_that_asks_for_no_date_has_none(load: Any) -> None:
    for own, template in ((OWN, None), (None, "llama3")):
        probes = load(own, CHAT, template=template, template_date="2031-12-01")
        assert probes.describe()["template_date"] is None
        assert "dated" not in probes.summary()


def test_one_dated_prompt_is_enough_to_say_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"instruction": "q", "tools": each} for each in ("", TOOLS)]))
    config = Config(
        model_name_or_path="-",
        dataset=[str(path)],
        template="llama3",
        columns={"prompt": "instruction", "tools": "tools"},
    )
    probes = load_probes(config, character_tokenizer(chat_template=None))
    assert probes.describe()["template_date"] == "2024-07-26"


def test_a_named_template_dates_what_it_says_of_tools(load: Any) -> None:
    probes = load(None, AGENT, template="llama3", tools=TOOLS, template_date="2031-12-01")
    assert "Today Date: 01 Dec 2031\n" in probes.probes[0].text
    assert probes.describe()["template_date"] == "2031-12-01"


def test_a_template_that_fails_is_said_to(load: Any) -> None:
    with pytest.raises(ProbeError, match=r"1 refused by the chat template \(never\)"):
        load("{{ raise_exception('never') }}", CHAT)
    with pytest.raises(ProbeError, match="refused by the chat template"):
        load("{% for %}", CHAT)


def test_default_system_is_for_rows_without_one(text: Any) -> None:
    assert text(OWN, CHAT[1:3], default_system="D") == "[system:D][user:q][assistant:"
    assert text(OWN, CHAT[:3], default_system="D") == "[system:S][user:q][assistant:"
