"""What users are told of their mistakes: exceptions, how values stand in messages, exit codes."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType

FINE = 0
"""Exit code: all went well."""
FAILED = 1
"""Exit code: something was found that a command was asked to fail for, as pytest's."""
UNUSABLE = 4
"""Exit code: input that cannot be used, as pytest's."""
INTERRUPTED = 130
"""Exit code: Ctrl-C, as a shell's."""


class LinearityError(Exception):
    """A config, checkpoint or data set that cannot be used.

    The message is shown to the user as it stands, without a traceback: it names the file or key,
    the value found and what would be right. Under pytest it becomes a usage error (exit code 4).
    """


class ConfigError(LinearityError):
    """A YAML file or key that cannot be used."""


class CheckpointError(LinearityError):
    """A checkpoint that cannot be used."""


class ProbeError(LinearityError):
    """Prompts or a data set that cannot be used."""


class MeasurementError(LinearityError):
    """A model that cannot be measured, found while measuring."""


class ScopeError(LinearityError):
    """One of several scopes that cannot be measured, where others of the same checkpoint can."""


class RanksError(LinearityError):
    """Processes that were to measure together and cannot."""


class FailedBefore(RuntimeError):
    """What has failed for a reason that is no mistake of the user's, and is not tried again."""


def failed_before(failure: BaseException) -> Exception:
    """What to raise where something is asked for again that has failed.

    A mistake of the user's is said again as it was; of a bug the first traceback is enough.
    """
    if isinstance(failure, (LinearityError, FailedBefore)):
        return failure
    return FailedBefore(f"measuring failed before: {failure!r}")


def pass_on_foreign(error: BaseException) -> None:
    """Let an error pass that came from outside what was being done, and says nothing of it.

    A signal's handler, as that of a test's time limit, raises in the midst of whatever runs; what
    pytest ends a test with is no `Exception`; and `-W error` makes an error of any warning. A
    library may have wrapped it in an error of its own.

    Args:
        error: What was caught, to be told as a mistake in what was being read.

    Raises:
        BaseException: The error itself, if it came from outside.
    """
    handlers = set(_handlers())
    for each in _with_causes(error):
        frames = (frame for frame, _ in traceback.walk_tb(each.__traceback__))
        interrupts = not isinstance(each, (Exception, SystemExit, GeneratorExit))
        if (
            interrupts
            or isinstance(each, Warning)
            or any(frame.f_code in handlers for frame in frames)
        ):
            raise error


def _handlers() -> Iterator[CodeType]:
    """The code of the handlers of all signals, as far as they are written in Python."""
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        function = getattr(handler, "func", handler)  # of functools.partial
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if isinstance(code, CodeType):
            yield code


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was raised for or while handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def shown(value: object, limit: int = 60) -> str:
    """The value as a message shows it: on one line, and not too long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of very many digits; a list in itself
        text = f"a {type(value).__name__}"
    text = text.encode("ascii", "backslashreplace").decode() if not text.isprintable() else text
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def shown_name(name: str, limit: int = 120) -> str:
    """A name as a message shows it: plain, where it is on one line and not too long."""
    return name if name.isprintable() and len(name) <= limit else shown(name, limit)


def shown_names(names: Iterable[str]) -> str:
    """Names as a message lists them: on one line, and not too many."""
    ordered = [name if name.isprintable() else shown(name) for name in names]
    more = f" and {len(ordered) - 20} more" if len(ordered) > 20 else ""
    return ", ".join(ordered[:20]) + more


def one_line(error: BaseException, most: int | None = 300) -> str:
    """What an error of a library says, in one line of bearable length.

    Args:
        error: The error; one that says nothing is called by its class.
        most: How many letters are kept; None for all.
    """
    said = _all(error) or type(error).__name__
    return said if most is None or len(said) <= most else f"{said[: most - 1]}…"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, which in torch's is the one that matters."""
    return _first(error) or type(error).__name__


def class_and_line(error: BaseException) -> str:
    """Class and first line of an error of code that is not ours, as ``ValueError: no such row``."""
    kind, said = type(error).__name__, _first(error)
    return f"{kind}: {said}" if said else kind


def class_and_lines(error: BaseException) -> str:
    """Class and all that an error of code that is not ours says, on one line."""
    kind, said = type(error).__name__, _all(error)
    return f"{kind}: {said}" if said else kind


def _first(error: BaseException) -> str:
    return _printable(next(iter(str(error).strip().splitlines()), "").strip())


def _all(error: BaseException) -> str:
    return _printable(" ".join(str(error).split()))


def _printable(text: str) -> str:
    """A text without what a terminal would not show, or take for an order."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def class_name(error: BaseException) -> str:
    """The name of an error's class, or of the next above it that `error_named` knows."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((name for name in names if name in _CLASSES), "RuntimeError")


def error_named(name: str, message: str) -> Exception:
    """An error of a user's mistake by the name of its class; a RuntimeError by any other."""
    return _CLASSES.get(name, RuntimeError)(message)


_KINDS: tuple[type[LinearityError], ...] = (LinearityError, *LinearityError.__subclasses__())
_CLASSES: Mapping[str, type[Exception]] = {kind.__name__: kind for kind in (*_KINDS, FailedBefore)}
"""The classes of users' mistakes, and of what is not tried again, as other processes are told."""
