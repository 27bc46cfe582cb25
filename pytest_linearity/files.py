"""Files that appear whole or not at all, and JSON that shows whether it is still whole."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_linearity.errors import ConfigError, LinearityError


def brief(path: Path) -> Path:
    """A path as a person would write it here: relative when it lies below this directory."""
    here = Path.cwd()
    path = Path(os.path.normpath(path))
    return path.relative_to(here) if path.is_relative_to(here) else path


def require_writable(
    path: Path,
    *,
    what: str = "report",
    set_by: str = "`output_dir`, `report_filename` or --linearity-report",
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
    # Not by Path's own methods: they raise where a name is too long or a directory not to be read.
    if os.path.isdir(path):
        raise ConfigError(
            f"{brief(path)}: this is a directory; the {what} needs the name of a file"
        )
    directory = path.parent
    while not os.path.exists(directory) and directory != directory.parent:
        directory = directory.parent
    place = directory
    try:
        # The only reliable test: permission bits say nothing of read-only mounts or of root.
        with tempfile.TemporaryFile(dir=directory):
            pass
        for place in (directory / part for part in path.relative_to(directory).parts):
            _require_possible(place)
        place = path
        _require_possible(path.absolute())
        _require_possible(_beside(path.absolute()))
    except OSError as error:
        raise ConfigError(
            f"{shown_path(path)}: the {what} cannot be written here "
            f"({error.strerror}: {shown_path(place)}); {set_by} must name a writable place"
        ) from error


def _require_possible(path: Path) -> None:
    """Find out whether a file system takes a name, whether there is such a file or not.

    Raises:
        OSError: If it does not; most take 255 bytes.
    """
    with suppress(FileNotFoundError):
        os.lstat(path)


def shown_path(path: Path, limit: int = 120) -> str:
    """A path as messages show it: `brief`, and the middle left out where it is very long."""
    text = str(brief(path))
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-limit // 2 :]}"


_LONGEST = 255
"""Bytes in the longest name of a file, on nearly all systems."""


def fitting(stem: str, suffix: str = "") -> str:
    """The name of a file that is made of other names; a digest stands for the end of a long one."""
    name = f"{stem}{suffix}"
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    end = f"-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:12]}{suffix}"
    room = max(0, _LONGEST - len(os.fsencode(end)))
    return f"{os.fsencode(stem)[:room].decode(errors='ignore')}{end}"


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


def _beside(path: Path) -> Path:
    """A temporary file in the same directory, whose name is short whatever that of the path is."""
    return path.with_name(f".linearity-{secrets.token_hex(4)}")


def _write_and_rename(path: Path, content: bytes) -> None:
    beside = _beside(path)
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
