"""The content of a checkpoint as one digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pytest_linearity.errors import CheckpointError
from pytest_linearity.files import read_checked, write_checked

_KINDS = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken", ".py"}
_OF_TRAINING = ("optimizer", "scheduler", "rng_state", "random_states", "training_args", "trainer_")
_CHUNK = 1 << 20
_SAMPLE = 1 << 16
_SAMPLES = 64


def content_digest(directory: Path, memory: Path) -> str:
    """SHA-256 over the names and contents of all files that a model may be loaded from.

    What a trainer leaves beside them (optimiser states, logs) does not count.

    Args:
        directory: The checkpoint; or a single file.
        memory: A file that digests are remembered in, as reading many gigabytes takes minutes. A
            digest is taken from there while the file's place, size, times and inode are the same.

    Raises:
        CheckpointError: If a file cannot be read.
    """
    try:
        return _digest(directory, memory)
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot be read: {error.strerror}") from None


def sample_digest(directory: Path) -> str:
    """SHA-256 over the names, sizes and samples of the same files, in a moment.

    Two checkpoints of one training differ nearly everywhere, so that samples tell them apart; one
    that somebody has changed in a few places they need not.

    Raises:
        CheckpointError: If a file cannot be read.
    """
    whole = hashlib.sha256()
    try:
        for path in sorted(_files(directory)):
            whole.update(f"{path.relative_to(directory).as_posix()}\0".encode())
            whole.update(f"{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                for start in _samples(path.stat().st_size):
                    file.seek(start)
                    whole.update(file.read(_SAMPLE))
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot be read: {error.strerror}") from None
    return whole.hexdigest()


def _samples(size: int) -> list[int]:
    """Where samples of a file begin: all over it, and everywhere in a small one."""
    if size <= _SAMPLES * _SAMPLE:
        return list(range(0, size, _SAMPLE))
    step = (size - _SAMPLE) // (_SAMPLES - 1)
    return [place * step for place in range(_SAMPLES)]


def _digest(directory: Path, memory: Path) -> str:
    remembered = read_checked(memory) or {}  # by file its identity and digest
    whole, fresh = hashlib.sha256(), {}
    for path in sorted(_files(directory)):
        identity = _identity(path)
        key = str(path.resolve())
        seen = remembered.get(key)
        digest = seen[1] if seen and seen[0] == identity else _file_digest(path)
        fresh[key] = [identity, digest]
        whole.update(f"{path.relative_to(directory).as_posix()}\0{digest}\0".encode())
    if any(remembered.get(key) != entry for key, entry in fresh.items()):
        write_checked(memory, {**remembered, **fresh})
    return whole.hexdigest()


def _files(directory: Path) -> Iterator[Path]:
    if directory.is_file():
        yield directory
        return
    # Weights are read from the directory itself, code and chat templates from below it, too.
    below = (path for kind in ("*.py", "*.jinja") for path in directory.glob(f"*/**/{kind}"))
    for path in (*directory.iterdir(), *below):
        if path.suffix in _KINDS and not path.name.startswith(_OF_TRAINING) and path.is_file():
            yield path


def _identity(path: Path) -> list[int]:
    """What changes whenever a file is written; the time of its status cannot be set back."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
