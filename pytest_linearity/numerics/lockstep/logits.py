"""A batch as the numerics know it: a call that runs the model, and what may be known of it beside.

Any call without arguments will do. A batch whose tokens are known takes less memory and less work;
it says so by attributes, all of which are optional and are read here and nowhere else:

- `tokens`: how many tokens it has, padding included, by which memory is planned;
- `real`: bool Tensor [tokens] that is False at padding, where nobody minds what a router chooses;
- `needed`: bool Tensor [tokens] that is True at the tokens whose logits are returned;
- `prefix`, `plain`, `length`, `longest`: see `SuffixCall`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeGuard

from torch import Tensor

from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.lockstep.prefix import SharedPrefix

Logits: TypeAlias = Callable[[], Tensor]
"""Runs the model on one batch and returns its last-token logits, float Tensor [prompts, V]."""


class SuffixCall(Protocol):
    """A batch whose prompts leave what they all begin with to an evaluation of its own."""

    @property
    def prefix(self) -> SharedPrefix:
        """What they begin with: the same for all batches."""

    @property
    def plain(self) -> Logits:
        """The same batch with every prompt whole."""

    @property
    def length(self) -> int:
        """Tokens of the longest prompt, prefix included."""

    def longest(self) -> SuffixCall:
        """The longest prompt alone."""

    def __call__(self) -> Tensor:
        """The logits, float Tensor [prompts, V]; runs inside an evaluation only."""


def check_logits(output: object) -> None:
    """Refuse what is no logits.

    Raises:
        MeasurementError: With what a batch's call has returned.
    """
    wanted = "it must return the logits of each prompt's last token, a float Tensor [prompts, V]"
    if not isinstance(output, Tensor):
        raise MeasurementError(f"the call returned a {type(output).__name__}; {wanted}")
    if not output.is_floating_point():
        raise MeasurementError(f"the call returned a Tensor of {output.dtype}; {wanted}")
    if output.dim() != 2:
        one = " (of one prompt, `logits[None]`)" if output.dim() == 1 else ""
        raise MeasurementError(
            f"the call returned a Tensor of the shape {list(output.shape)}; {wanted}{one}"
        )


def token_count(run: Logits) -> int | None:
    """How many tokens a batch has, padding included; None if it does not say."""
    tokens = getattr(run, "tokens", None)
    return tokens if isinstance(tokens, int) else None


def real_tokens(run: Logits) -> Tensor | None:
    """Which tokens of a batch are not padding, bool Tensor [tokens]; None if it does not say."""
    real: Tensor | None = getattr(run, "real", None)
    return real


def needed_tokens(run: Logits) -> Tensor | None:
    """Of which tokens a batch returns logits, bool Tensor [tokens]; None if it does not say."""
    needed: Tensor | None = getattr(run, "needed", None)
    return needed


def shares_prefix(run: Logits | SuffixCall) -> TypeGuard[SuffixCall]:
    """Whether a batch leaves a prefix to an evaluation of its own."""
    return getattr(run, "prefix", None) is not None


def prefix_of(run: Logits) -> SharedPrefix | None:
    """The prefix that a batch leaves to an evaluation of its own; None if it leaves none."""
    return run.prefix if shares_prefix(run) else None


def whole(run: Logits) -> Logits:
    """The call that evaluates every prompt of a batch whole."""
    return run.plain if shares_prefix(run) else run
