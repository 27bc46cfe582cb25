"""Files that appear whole or not at all, and JSON that shows whether it is still whole."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_linearity.errors import ConfigError, LinearityError


def brief(path: Path) -> Path:
    """A path as a person would write it here: relative when it lies below this directory."""
    here = Path.cwd()
    path = Path(os.path.normpath(path))
    return path.relative_to(here) if path.is_relative_to(here) else path


def require_writable(
    path: Path, *, what: str = "report", set_by: str = "`output_dir` or --linearity-report"
) -> None:
    """Find out, without leaving a trace, whether a file can be written.

    A measurement may take minutes: a place that cannot be written is found before it, not after.

    Args:
        path: The file to be written later; its directory need not exist yet.
        what: What will be written there.
        set_by: Where its user has named the place.

    Raises:
        ConfigError: If it cannot be written.
    """
    if path.is_dir():
        raise ConfigError(
            f"{brief(path)}: this is a directory; the {what} needs the name of a file"
        )
    directory = path.parent
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        # The only reliable test: permission bits say nothing of read-only mounts or of root.
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ConfigError(
            f"{brief(path)}: the {what} cannot be written here "
            f"({error.strerror}: {brief(directory)}); {set_by} must name a writable place"
        ) from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that no reader ever sees half of it.

    The content (text is encoded in UTF-8) goes to a temporary file beside the place, which is
    then renamed. Directories that are missing are made.

    Raises:
        LinearityError: If the file cannot be written; then no part of it is left behind.
    """
    content = content.encode() if isinstance(content, str) else content
    path = path.resolve()  # a link stays a link: what it points to is replaced
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a pipe or a device: nothing to rename
            return
        _write_and_rename(path, content)
    except OSError as error:
        raise LinearityError(f"{brief(path)}: could not be written ({error.strerror})") from error


def _write_and_rename(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_checked(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON object behind a digest that shows whether it is still what was written.

    NaN and infinity are kept, as they mark pairs whose figure is undefined; floats are written with
    all their digits.

    Raises:
        LinearityError: If the file cannot be written.
    """
    content = json.dumps(document)
    write_whole(path, f"{_digest(content)}\n{content}\n")


def read_checked(path: Path) -> dict[str, Any] | None:
    """The object that `write_checked` wrote; None where there is none, or no longer a whole one."""
    try:
        digest, _, content = path.read_text(encoding="utf-8").rstrip("\n").partition("\n")
        document = json.loads(content) if digest == _digest(content) else None
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
