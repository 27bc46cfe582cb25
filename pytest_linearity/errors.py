"""The one exception that is a user's mistake rather than ours."""

from __future__ import annotations


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


def failed_before(failure: BaseException) -> Exception:
    """What to raise where something is asked for again that has failed.

    A mistake of the user's is said again as it was; of a bug the first traceback is enough.
    """
    if isinstance(failure, LinearityError):
        return failure
    return RuntimeError(f"measuring failed before: {failure!r}")
