"""What users are told of an error, and how an error passes from one process to another."""

from __future__ import annotations

import pytest

from pytest_linearity.errors import (
    ConfigError,
    LinearityError,
    class_and_line,
    class_and_lines,
    class_name,
    error_named,
    first_line,
    one_line,
)


class OwnError(ConfigError):
    """A kind that other processes need not know."""


@pytest.mark.parametrize("say", [one_line, first_line, class_and_line, class_and_lines])
@pytest.mark.parametrize("message", ["", " \n "])
def test_an_error_that_says_nothing_is_called_by_its_class(say: object, message: str) -> None:
    assert callable(say)
    assert say(ValueError(message)) == "ValueError"


@pytest.mark.parametrize("end", ["\r\n", "\n", "\x0b", "\x85", "\u2028"])
def test_a_line_ends_where_any_terminal_ends_it(end: str) -> None:
    error = ValueError(f"first{end}second")
    assert first_line(error) == "first"
    assert class_and_line(error) == "ValueError: first"
    assert class_and_lines(error) == "ValueError: first second"


def test_lines_of_a_message() -> None:
    error = ValueError("\nfirst  one\nsecond\n")
    assert one_line(error) == "first one second"
    assert first_line(error) == "first  one"
    assert class_and_line(error) == "ValueError: first  one"


def test_a_long_message_is_cut_unless_all_of_it_is_wanted() -> None:
    error = ValueError("word " * 100)
    assert len(one_line(error)) == 300
    assert one_line(error).endswith("…")
    assert len(one_line(error, most=None)) == 499


@pytest.mark.parametrize(
    ("error", "name", "kind"),
    [
        (ConfigError("x"), "ConfigError", ConfigError),
        (LinearityError("x"), "LinearityError", LinearityError),
        (OwnError("x"), "ConfigError", ConfigError),
        (KeyError("x"), "RuntimeError", RuntimeError),
    ],
)
def test_an_error_reaches_another_process_by_the_name_of_its_class(
    error: Exception, name: str, kind: type[Exception]
) -> None:
    assert class_name(error) == name
    again = error_named(name, "what is said")
    assert type(again) is kind
    assert str(again) == "what is said"
    assert type(error_named("shown", "")) is RuntimeError
