"""A command that torchrun has started several times: rank 0 speaks, and all end alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_linearity.errors import UNUSABLE, one_line
from pytest_linearity.run.ranks.place import Place


@contextmanager
def among_ranks() -> Iterator[None]:
    """Be one of several ranks for a while, where torchrun has started this process.

    Raises:
        RanksError: If the ranks do not find each other.
        SystemExit: If one of them is lost, which has been said then.
    """
    place = Place.of(os.environ)
    if place is None:
        yield
        return
    from pytest_linearity.run.ranks.membership import Membership

    lost: list[str] = []
    membership = Membership(place, lost.append)
    if place.rank > 0:
        # For the rest of this process: what goes wrong on all ranks is said once.
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    how = "its command is over"
    try:
        yield
    except BaseException as error:
        how = one_line(error, most=None)
        if lost:
            raise SystemExit(UNUSABLE) from None
        raise
    finally:
        membership.leave(how)
