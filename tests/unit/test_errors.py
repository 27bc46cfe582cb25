"""What users are told of an error, and how an error passes from one process to another."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

import pytest

from pytest_linearity.errors import (
    ConfigError,
    FailedBefore,
    LinearityError,
    class_and_line,
    class_and_lines,
    class_name,
    error_named,
    failed_before,
    first_line,
    one_line,
    pass_on_foreign,
    shown_name,
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


@pytest.mark.parametrize("say", [one_line, first_line, class_and_line, class_and_lines])
def test_what_a_terminal_would_obey_is_spelled_out(say: Callable[[Exception], str]) -> None:
    error = ValueError("no key '\x1b[2J\u202e' in größe 😀")
    assert say(error).endswith(r"no key '\x1b[2J\u202e' in größe 😀")


def test_a_name_is_shown_as_it_is_where_it_can_be() -> None:
    assert shown_name("größe") == "größe"
    assert shown_name("a\x1bb") == r"'a\x1bb'"
    assert len(shown_name("x" * 300)) == 120


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


def reading(do: Callable[[], None]) -> None:
    """Blames whatever it was that was read."""
    try:
        do()
    except Exception as error:
        pass_on_foreign(error)
        raise ConfigError("config.json cannot be read") from error


def wrapping(do: Callable[[], None]) -> None:
    """Makes an error of its own of any other, as lazy modules do."""
    try:
        do()
    except BaseException as error:
        raise RuntimeError("could not import") from error


class TestForeign:
    """What came from outside says nothing of what was being read."""

    @pytest.fixture
    def strike(self) -> Iterator[Callable[[], None]]:
        """Has a signal's handler raise an exception of the usual kind."""

        class Limit:
            def reached(self, number: int, frame: FrameType | None) -> None:
                raise TimeoutError("too long")

        before = signal.signal(signal.SIGTERM, Limit().reached)
        yield lambda: signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)

    def test_what_a_handler_raises(self, strike: Callable[[], None]) -> None:
        with pytest.raises(TimeoutError, match="too long"):
            reading(strike)

    def test_what_a_library_has_made_of_it(self, strike: Callable[[], None]) -> None:
        with pytest.raises(RuntimeError, match="could not import"):
            reading(partial(wrapping, strike))

    @pytest.mark.parametrize("outcome", [pytest.fail.Exception("x"), KeyboardInterrupt()])
    def test_what_is_no_exception(self, outcome: BaseException) -> None:
        def interrupt() -> None:
            raise outcome

        with pytest.raises(RuntimeError, match="could not import"):
            reading(partial(wrapping, interrupt))

    def test_a_warning_that_is_to_be_an_error(self) -> None:
        def warn() -> None:
            raise UserWarning("deprecated")

        with pytest.raises(UserWarning, match="deprecated"):
            reading(warn)

    def test_an_error_of_what_was_read_is_kept(self, strike: Callable[[], None]) -> None:
        def read() -> None:
            raise ValueError("no such key")

        with pytest.raises(ConfigError):
            reading(partial(wrapping, read))


def test_what_failed_before_is_not_wrapped_again() -> None:
    once = failed_before(ValueError("shapes"))
    assert str(once) == "measuring failed before: ValueError('shapes')"
    assert failed_before(once) is once
    assert isinstance(error_named(class_name(once), str(once)), FailedBefore)
