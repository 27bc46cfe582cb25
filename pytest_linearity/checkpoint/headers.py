"""What the headers of a checkpoint's files say: the dtypes of its tensors, and their size."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pytest_linearity.checkpoint.files import check_files, read_json
from pytest_linearity.checkpoint.foreign import how_to_convert
from pytest_linearity.errors import CheckpointError

_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_DTYPES = {
    **_FLOATS,
    "BOOL": "bool",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "U64": "uint64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
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
    shape: tuple[int, ...]
    bytes: int
    path: Path
    """The file."""

    @property
    def trainable(self) -> bool:
        """Whether weights are trained in this dtype."""
        return self.dtype in _FLOATS.values()


def check_dtypes(directory: Path, first: Path) -> None:
    """Refuse weights that are no numbers a model was trained in, or that are not there.

    Integers, and floats of 8 bits, are what quantisation leaves; loaded as if they were weights
    they give another model. Masks and positions that some files hold beside weights may be
    integers.

    Args:
        directory: The checkpoint.
        first: The file that the weights are in, or the first of several.

    Raises:
        CheckpointError: If there are such weights; names the first.
    """
    for header in headers_of(directory, first):
        weight = header.name.endswith("weight") or header.dtype.startswith("float8")
        if weight and not header.trainable:
            refuse_dtype(directory, header)
        if weight and not header.bytes:
            command = how_to_convert(directory) or (
                "save it again with stage3_gather_16bit_weights_on_model_save: true"
            )
            raise CheckpointError(
                f"{header.path}: {header.name} is empty (shape {list(header.shape)}), as DeepSpeed "
                f"ZeRO-3 leaves weights that it has not gathered: {command}"
            )


def refuse_dtype(directory: Path, header: Header) -> None:
    """Refuse a weight for its dtype.

    Raises:
        CheckpointError: Always.
    """
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
    headers = headers_of(directory, check_files(directory))
    return Stored(sum(header.bytes for header in headers), main_dtype(headers))


def main_dtype(headers: Iterable[Header]) -> str:
    """The dtype of most bytes, of those that weights are trained in."""
    sizes: Counter[str] = Counter()
    for header in headers:
        if header.trainable:
            sizes[header.dtype] += header.bytes
    return sizes.most_common(1)[0][0] if sizes else "float32"


def headers_of(directory: Path, first: Path) -> tuple[Header, ...]:
    """The headers of all tensors of a checkpoint.

    Args:
        directory: The checkpoint.
        first: The file that the weights are in, or the first of several.
    """
    tensors = _safetensors if first.suffix == ".safetensors" else _pickled
    return tuple(header for path in _files(directory, first) for header in tensors(path))


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
            yield Header(name, dtype, tuple(tensor["shape"]), stop - start, path)


def _pickled(path: Path) -> Iterator[Header]:
    import torch

    for name, tensor in torch.load(path, map_location="meta", weights_only=True).items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        yield Header(name, dtype, tuple(tensor.shape), tensor.nbytes, path)
