"""`param_scopes`: several scopes of one run, and how they are told apart."""

from __future__ import annotations

import re
from collections.abc import Sequence


def scope_labels(scopes: Sequence[str]) -> list[str]:
    """Scopes as ids of tests can hold them: a regular expression without most of its signs.

    They stay distinct where files are named after them, which takes colons away.
    """
    labels: list[str] = []
    taken: set[str] = set()
    for scope in scopes:
        plain = re.sub(r":{2,}", ":", re.sub(r"[^\w.:+-]+", "-", scope)).strip("-:")
        label, number = plain, 1
        while in_file_name(label) in taken:
            number += 1
            label = f"{plain}-{number}"
        taken.add(in_file_name(label))
        labels.append(label)
    return labels


def in_file_name(label: str) -> str:
    """A label as part of the name of a file."""
    return re.sub(r"[^\w.+]+", "-", label)
