"""What the headers of a checkpoint's files say: its dtype and its size."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_linearity.checkpoint.files import check_files, read_json

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Stored:
    """A checkpoint's weights on disk."""

    bytes: int
    """Size of all tensors together."""
    dtype: str
    """That of most bytes, as `bfloat16`."""


def read_headers(directory: Path) -> Stored:
    """Size and dtype of the weights in a checkpoint's files, of which only headers are read.

    Raises:
        CheckpointError: If files are missing, cut or corrupt.
    """
    first = check_files(directory)
    sizes: Counter[str] = Counter()
    tensors = _safetensors if first.suffix == ".safetensors" else _pickled
    for path in _files(directory, first):
        for dtype, size in tensors(path):
            sizes[dtype] += size
    dtype = sizes.most_common(1)[0][0] if sizes else "float32"
    return Stored(sum(sizes.values()), dtype)


def _files(directory: Path, first: Path) -> list[Path]:
    """The file or all shards."""
    for index in directory.glob(f"*{first.suffix}.index.json"):
        placed: dict[str, str] = read_json(index)["weight_map"]
        if first.name in placed.values():
            return [directory / name for name in sorted(set(placed.values()))]
    return [first]


def _safetensors(path: Path) -> Iterator[tuple[str, int]]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    for name, tensor in header.items():
        if name != "__metadata__":
            start, stop = tensor["data_offsets"]
            yield _DTYPES.get(tensor["dtype"], tensor["dtype"].lower()), stop - start


def _pickled(path: Path) -> Iterator[tuple[str, int]]:
    import torch

    for tensor in torch.load(path, map_location="meta", weights_only=True).values():
        yield str(tensor.dtype).removeprefix("torch."), tensor.nbytes
