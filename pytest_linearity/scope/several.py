"""`param_scopes`: several scopes of one run, and how they are told apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import ConfigError, shown
from pytest_linearity.scope.parse import Scope, parse_scope
from pytest_linearity.values import text

if TYPE_CHECKING:
    from pytest_linearity.config import Config


def parse_scopes(value: Any) -> tuple[str, ...]:
    """A list of different scopes.

    Raises:
        ValueError: If it is not a list, is empty, or holds what is not a scope or one scope twice;
            with a phrase that names it.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError(
            f"{shown(value)} is not a list of scopes, as [full, attention] (for a single one there "
            "is param_scope)"
        )
    if not value:
        raise ValueError("is an empty list: name at least one scope, as [full, attention]")
    seen: dict[frozenset[str], str] = {}
    for entry in value:
        scope = _parsed(entry)
        terms = frozenset(part.text for part in scope.parts)
        if terms in seen:
            also = "" if seen[terms] == scope.text else f", as {shown(seen[terms])} too"
            raise ValueError(f"{shown(scope.text)} is repeated{also}")
        seen[terms] = scope.text
    return tuple(seen.values())


def expand_scopes(config: Config) -> tuple[Config, ...]:
    """A config of its own for each scope that a config names, in the order given.

    One with a single `param_scope` gives the config itself.
    """
    scopes = config.param_scopes
    if scopes is None:
        return (config,)
    return tuple(
        replace(config, param_scope=scope, param_scopes=None, scope_label=label)
        for scope, label in zip(scopes, scope_labels(scopes), strict=True)
    )


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


def _parsed(entry: Any) -> Scope:
    try:
        return parse_scope(text(entry))
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("param_scope: ")) from None
