"""The rows of a data set, read by the ``datasets`` library."""

from __future__ import annotations

import inspect
import random
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pytest_linearity.checkpoint import hub
from pytest_linearity.errors import ProbeError, one_line, pass_on_foreign, shown_names
from pytest_linearity.probes.conversations import Row
from pytest_linearity.probes.data_sets import DataSet
from pytest_linearity.probes.json_rows import json_rows

if TYPE_CHECKING:
    from datasets import Dataset

_KINDS = {
    "json": "json",
    "jsonl": "json",
    "csv": "csv",
    "parquet": "parquet",
    "arrow": "arrow",
    "txt": "text",
}
_COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}
_METADATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}


def read_rows(
    data_set: DataSet, *, max_samples: int | None, seed: int, cache_dir: str | None
) -> list[tuple[int, Row]]:
    """The rows that are meant, each with its number.

    Local files are read by way of a temporary copy, so that no cache fills up behind one's back.

    Args:
        data_set: Where the rows are.
        max_samples: Only the first so many; of a random sample, its first in the set's order.
        seed: Of the random sample, where the data set asks for one.
        cache_dir: Where downloads from the hub are kept.

    Raises:
        ProbeError: If the rows cannot be read, there are none, or a named column is missing.
    """
    with (
        _quiet(),
        TemporaryDirectory(prefix="pytest-linearity-", ignore_cleanup_errors=True) as tmp,
    ):
        rows = _loaded(data_set, tmp, cache_dir)
        _check_columns(data_set, rows.columns)
        numbers = list(range(rows.count))
        if data_set.num_samples is not None and data_set.num_samples < len(numbers):
            numbers = sorted(random.Random(seed).sample(numbers, data_set.num_samples))
        return [(number, rows.row(number)) for number in numbers[:max_samples]]


def import_datasets() -> None:
    """Import the library, which takes a second."""
    import datasets  # noqa: F401


@dataclass(frozen=True)
class _Rows:
    """All rows of a data set."""

    columns: list[str]
    """What the rows have, or some of them."""
    count: int
    """How many there are."""
    row: Callable[[int], Row]
    """Gives one by its number, with a null for each column that it lacks."""

    @classmethod
    def of_table(cls, table: Dataset) -> _Rows:
        """The rows of a table."""
        return cls(list(table.column_names), len(table), table.__getitem__)

    @classmethod
    def listed(cls, rows: Sequence[Row]) -> _Rows:
        """Rows that may lack columns of others."""
        columns = dict.fromkeys(key for row in rows for key in row)
        return cls(list(columns), len(rows), lambda number: {**columns, **rows[number]})


def _loaded(data_set: DataSet, temporary: str, cache_dir: str | None) -> _Rows:
    local = isinstance(data_set.place, Path)
    try:
        if isinstance(data_set.place, Path):
            return _local(data_set.place, data_set, temporary)
        return _Rows.of_table(_remote(data_set.place, data_set, cache_dir))
    except ProbeError:
        raise
    except Exception as error:  # readers of five formats and of the hub have no common base
        pass_on_foreign(error)
        said = one_line(error.__cause__ or error)
        if "no data" in said:
            said = "it holds no rows"
        what = f"{data_set.place} cannot be read" if local else _unavailable(data_set)
        raise ProbeError(f"dataset: {data_set.name}: {what}: {said}") from None


def _unavailable(data_set: DataSet) -> str:
    first = f"{data_set.missing}; it " if data_set.missing else ""
    what = f"{first}is no file or folder here, and cannot be had from the Hugging Face hub"
    if hub.offline():
        return f"{what} (fetching is forbidden by HF_HUB_OFFLINE)"
    return f"{what} (HF_HUB_OFFLINE=1 uses a copy fetched earlier)"


def _local(place: Path, data_set: DataSet, temporary: str) -> _Rows:
    from datasets import DatasetDict, load_dataset, load_from_disk

    split = data_set.split or "train"
    if (place / "state.json").is_file() or (place / "dataset_dict.json").is_file():
        saved = load_from_disk(str(place))  # what Dataset.save_to_disk has written
        return _Rows.of_table(saved[split] if isinstance(saved, DatasetDict) else saved)
    files = _files(place, data_set) if place.is_dir() else [place]
    kinds = {_kind(file) for file in files}
    if len(kinds) != 1 or None in kinds:
        raise ProbeError(
            f"dataset: {data_set.name}: {place} must hold files of one kind: "
            f"{', '.join(_KINDS)}; found {', '.join(sorted({file.suffix for file in files}))}"
        )
    if not any(file.stat().st_size for file in files):
        raise ProbeError(f"dataset: {data_set.name}: {place} holds no rows")
    kind = str(kinds.pop())
    if kind == "json":
        return _Rows.listed(_part(list(json_rows(files)), split))
    options = _as_text(files[0]) if kind == "csv" else {}
    loaded: Dataset = load_dataset(
        kind,
        data_files={_split_name(split): [str(file) for file in files]},
        split=split,
        cache_dir=temporary,
        **options,
    )
    return _Rows.of_table(loaded)


def _part(rows: list[Row], split: str) -> list[Row]:
    """The rows that a split such as ``train[:10%]`` means."""
    from datasets import ReadInstruction

    if not rows:
        raise ValueError("it holds no rows")
    instruction = ReadInstruction.from_spec(split)
    parts = instruction.to_absolute({_split_name(split): len(rows)})
    return [row for part in parts for row in rows[part.from_ : part.to]]


def _as_text(table: Path) -> dict[str, Any]:
    """Options by which a cell of a CSV file is text (12 not 12.0, and "None") or empty."""
    import pandas  # type: ignore[import-untyped]
    from datasets import Features, Value

    columns = pandas.read_csv(table, nrows=0).columns
    features = Features({str(column): Value("string") for column in columns})
    return {"features": features, "keep_default_na": False, "na_values": [""]}


def _remote(name: str, data_set: DataSet, cache_dir: str | None) -> Dataset:
    from datasets import config as settings
    from datasets import load_dataset
    from huggingface_hub import HfApi

    if not hub.offline():  # asked once, since load_dataset repeats what fails for half a minute
        HfApi().dataset_info(name, revision=data_set.revision, timeout=10)
    elif not settings.HF_HUB_OFFLINE:
        raise ConnectionError("the variable was set after the library was imported")
    options: dict[str, Any] = {}
    if "trust_remote_code" in inspect.signature(load_dataset).parameters:  # datasets 3
        options["trust_remote_code"] = False
    loaded: Dataset = load_dataset(
        name,
        name=data_set.subset,
        data_dir=data_set.folder,
        split=data_set.split or "train",
        revision=data_set.revision,
        cache_dir=cache_dir,
        **options,
    )
    return loaded


def _files(folder: Path, data_set: DataSet) -> list[Path]:
    """The data files in a folder: those of the split where names tell, or else all."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and _kind(file) is not None
        and file.name not in _METADATA
    )
    if not files:
        raise ProbeError(
            f"dataset: {data_set.name}: {folder} holds no data: {', '.join(_KINDS)} files are read"
        )
    pattern = re.compile(rf"(^|[^a-z]){_split_name(data_set.split or 'train')}([^a-z]|$)")
    named = [file for file in files if pattern.search(str(file.relative_to(folder)).lower())]
    if not named and data_set.split is not None and _split_name(data_set.split) != "train":
        listed = ", ".join(file.name for file in files[:5])
        raise ProbeError(
            f"dataset: {data_set.name}: {folder} has no split {data_set.split}: it holds {listed}"
        )
    return named or files


def _split_name(split: str) -> str:
    """The name in ``train[:100]``."""
    match = re.match(r"\w+", split)
    return match[0] if match else "train"


def _kind(file: Path) -> str | None:
    """Which reader a file is for; ``None`` for other files."""
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() not in _COMPRESSED]
    return _KINDS.get(suffixes[-1][1:]) if suffixes else None


def _check_columns(data_set: DataSet, present: list[str]) -> None:
    """Refuse rows without a column that was named, or that the prompt comes from."""
    columns = data_set.layout.columns
    needed = set(columns.values()) if data_set.explicit_columns else {next(iter(columns.values()))}
    missing = sorted(needed - set(present))
    if missing:
        raise ProbeError(
            f"dataset: {data_set.name}: has no column {shown_names(missing)}; it has "
            f"{shown_names(present) or 'none'} (columns says which holds what, formatting how)"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the readers from the terminal, and from counting local reads on a server."""
    import datasets
    from datasets import config as settings
    from datasets.utils import logging

    verbosity, bars = logging.get_verbosity(), datasets.is_progress_bar_enabled()
    counting = settings.HF_UPDATE_DOWNLOAD_COUNTS
    logging.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    settings.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        settings.HF_UPDATE_DOWNLOAD_COUNTS = counting
        logging.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()
