"""What the headers of a checkpoint's files say: the dtypes of its tensors, and their size."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pytest_linearity.checkpoint.files import check_files, read_json
from pytest_linearity.errors import CheckpointError

_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_DTYPES = {
    **_FLOATS,
    "BOOL": "bool",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


@dataclass(frozen=True)
class Stored:
    """A checkpoint's weights on disk."""

    bytes: int
    """Size of all tensors together."""
    dtype: str
    """That of most bytes, as `bfloat16`."""


class Header(NamedTuple):
    """What a file says of one tensor."""

    name: str
    dtype: str
    """As torch calls it, as `bfloat16`."""
    bytes: int


def check_dtypes(directory: Path, first: Path) -> None:
    """Refuse weights that are no numbers a model was trained in.

    Integers, and floats of 8 bits, are what quantisation leaves; loaded as if they were weights
    they give another model. Masks and positions that some files hold beside weights may be
    integers.

    Args:
        directory: The checkpoint.
        first: The file that the weights are in, or the first of several.

    Raises:
        CheckpointError: If there are such weights; names the first.
    """
    for header in _headers(directory, first):
        weight = header.name.endswith("weight") or header.dtype.startswith("float8")
        if weight and header.dtype not in _FLOATS.values():
            raise CheckpointError(
                f"{directory}: {header.name} is stored as {header.dtype}, which no weight is "
                "trained in: take the unquantised checkpoint, or save the weights as they were "
                "trained, as float32 or bfloat16"
            )


def read_headers(directory: Path) -> Stored:
    """Size and dtype of the weights in a checkpoint's files, of which only headers are read.

    Raises:
        CheckpointError: If files are missing, cut or corrupt.
    """
    first = check_files(directory)
    sizes: Counter[str] = Counter()
    for header in _headers(directory, first):
        sizes[header.dtype] += header.bytes
    dtype = sizes.most_common(1)[0][0] if sizes else "float32"
    return Stored(sum(sizes.values()), dtype)


def _headers(directory: Path, first: Path) -> Iterator[Header]:
    tensors = _safetensors if first.suffix == ".safetensors" else _pickled
    for path in _files(directory, first):
        yield from tensors(path)


def _files(directory: Path, first: Path) -> list[Path]:
    """The file or all shards."""
    for index in directory.glob(f"*{first.suffix}.index.json"):
        placed: dict[str, str] = read_json(index)["weight_map"]
        if first.name in placed.values():
            return [directory / name for name in sorted(set(placed.values()))]
    return [first]


def _safetensors(path: Path) -> Iterator[Header]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    for name, tensor in header.items():
        if name != "__metadata__":
            start, stop = tensor["data_offsets"]
            dtype = _DTYPES.get(tensor["dtype"], tensor["dtype"].lower())
            yield Header(name, dtype, stop - start)


def _pickled(path: Path) -> Iterator[Header]:
    import torch

    for name, tensor in torch.load(path, map_location="meta", weights_only=True).items():
        yield Header(name, str(tensor.dtype).removeprefix("torch."), tensor.nbytes)
