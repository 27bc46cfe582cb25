"""Plain data and tensors as bytes that show whether they are still what was packed."""

from __future__ import annotations

import hashlib
import io
import pickle
from typing import Any

import torch

_DIGEST = hashlib.sha256().digest_size


def pack(document: Any) -> bytes:
    """Pack dicts, lists, tuples, numbers, strings and tensors; every bit is kept."""
    stream = io.BytesIO()
    torch.save(document, stream)
    content = stream.getvalue()
    return hashlib.sha256(content).digest() + content


def unpack(content: bytes) -> Any:
    """What was packed, tensors on the CPU; no code is run for it.

    Raises:
        ValueError: If these are not the bytes that were packed.
    """
    digest, packed = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(packed).digest() != digest:
        raise ValueError("the bytes are not those that were packed")
    try:
        return torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(str(error)) from None
