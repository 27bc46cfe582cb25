"""Where and with what a run is computed."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from pytest_linearity.errors import ConfigError, first_line
from pytest_linearity.numerics.ranks import current


def versions() -> dict[str, str]:
    """The versions that a figure can depend on."""
    import transformers

    return {
        "pytest_linearity": version("pytest-linearity"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def resolve_device(device: str) -> torch.device:
    """The torch device that a config's `device` means.

    Raises:
        ConfigError: If the device is unknown or not present.
    """
    if device == "auto":
        return current().local_device(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device: {device!r} cannot be used ({first_line(error)}); "
            "accepted are `auto`, `cpu`, `cuda` and `cuda:N` where a GPU is present"
        ) from error
    return current().local_device(chosen)


def device_name(device: str) -> str:
    """The kind of device that a config's `device` means, as `cpu` or `cuda NVIDIA H100`.

    Raises:
        ConfigError: If the device is unknown or not present.
    """
    chosen = resolve_device(device)
    name = f" {torch.cuda.get_device_name(chosen)}" if chosen.type == "cuda" else ""
    return f"{chosen.type}{name}"


def peak_memory() -> int | None:
    """Largest resident memory of this process so far, in bytes; None where that is not known."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def private_memory() -> int | None:
    """Resident memory of this process that is no file's, in bytes; None where that is not known."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else None
