"""The text of a scope: what is taken, and what is refused in which words."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_linearity.config.loading import load_config
from pytest_linearity.numerics.scope.parse import WHOLE_WORDS, Term, parse_scope
from tests.support.configs import refusal, write


@pytest.mark.parametrize("word", WHOLE_WORDS)
def test_single_words(word: str) -> None:
    assert parse_scope(word).parts == (Term(word, word),)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("last_blocks:2", Term("last_blocks:2", "last_blocks", count=2)),
        ("first_blocks:12", Term("first_blocks:12", "first_blocks", count=12)),
        ("blocks:0-3", Term("blocks:0-3", "blocks", first=0, last=3)),
        ("blocks:3-3", Term("blocks:3-3", "blocks", first=3, last=3)),
        ("blocks:7", Term("blocks:7", "blocks", first=7, last=7)),
    ],
)
def test_blocks(text: str, part: Term) -> None:
    assert parse_scope(text).parts == (part,)


def test_sum() -> None:
    scope = parse_scope("attention+norms + blocks:0-1")
    assert scope.text == "attention+norms + blocks:0-1"
    assert [part.text for part in scope.parts] == ["attention", "norms", "blocks:0-1"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("regex:[qk]_proj", ["regex:[qk]_proj"]),
        (r"regex:layers\.\d+\.mlp+norms", [r"regex:layers\.\d+\.mlp+norms"]),
        ("norms+regex:a+b", ["norms", "regex:a+b"]),
        ("norms + head + regex: a+regex:b", ["norms", "head", "regex: a+regex:b"]),
    ],
)
def test_regex_takes_the_rest_of_the_text(text: str, terms: list[str]) -> None:
    parts = parse_scope(text).parts
    assert [part.text for part in parts] == terms
    pattern = parts[-1].pattern
    assert pattern is not None
    assert f"regex:{pattern.pattern}" == terms[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("atention", "'atention' is not a scope (did you mean `attention`?); accepted are `full`,"),
        ("Full", "'Full' is not a scope (did you mean `full`?); "),
        ("last_blocks:0", "'last_blocks:0' is not a scope; accepted are"),
        ("last_blocks:-1", "'last_blocks:-1' is not a scope; "),
        ("last_blocks", "'last_blocks' is not a scope; "),
        ("first_blocks:1.5", "'first_blocks:1.5' is not a scope; "),
        ("last_blocks:" + "9" * 5000, "… is not a scope; "),
        ("blocks:1-", "'blocks:1-' is not a scope; "),
        ("blocks:٣", "is not a scope; "),
        ("norms:2", "'norms:2' is not a scope (did you mean `norms`?); "),
        ("blocks:3-2", "'blocks:3-2' ends before it begins: write `blocks:2-3`"),
        ("norms+blocks:3-1", "'norms+blocks:3-1': 'blocks:3-1' ends before it begins"),
        ("mlp+norm", "'mlp+norm': 'norm' is not a scope (did you mean `norms`?); accepted are"),
        ("mlp+", "'mlp+': a term is missing beside a `+`"),
        ("+mlp", "'+mlp': a term is missing beside a `+`"),
        ("mlp++norms", "'mlp++norms': a term is missing beside a `+`"),
        ("+regex:a", "'+regex:a': a term is missing beside a `+`"),
        ("regex:", "'regex:': a regular expression is missing after `regex:`"),
        ("norms+regex:", "'norms+regex:': a regular expression is missing"),
        (
            "regex:q_proj(weight",
            "'regex:q_proj(weight': the regular expression is wrong at character 7, "
            "from '(weight' on: missing ), unterminated subpattern",
        ),
        ("mlp+regex:*", "at character 1, from '*' on: nothing to repeat"),
        ("regex:a{99999999999999999999}", "the regular expression is wrong"),
        ("regex:" + "(" * 5000 + ")" * 5000, "the regular expression is wrong"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_scope(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@given(st.text(alphabet="regx:+-blocks_01 full(*mpnos", max_size=24))
def test_any_text_is_a_scope_or_refused(text: str) -> None:
    try:
        scope = parse_scope(text)
    except ValueError:
        return
    assert scope.text == text
    assert scope.parts


def test_doubtful_syntax_of_a_regex_is_no_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse_scope("regex:[[a]b]")


def test_in_a_config(tmp_path: Path) -> None:
    text = r"model_name_or_path: a" + "\n" + r"param_scope: attention+regex:layers\.1\..*norm"
    config = load_config(write(tmp_path, text))
    assert config.param_scope == r"attention+regex:layers\.1\..*norm"


def test_in_a_config_that_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, "model_name_or_path: a\nparam_scope: attention+norm")
    message = refusal(path)
    assert "param_scope: 'attention+norm': 'norm' is not a scope" in message
    assert message.count("param_scope") == 1
