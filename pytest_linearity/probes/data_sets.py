"""Which data sets a config means: where each lies, and how its rows are laid out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.checkpoint import hub
from pytest_linearity.config.config import COLUMNS, FORMATTINGS, TAGS
from pytest_linearity.config.values import integer
from pytest_linearity.errors import ProbeError, one_line, shown, shown_names
from pytest_linearity.probes.conversations import Layout

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config

_COLUMNS = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output"},
    "sharegpt": {"messages": "conversations"},
    "openai": {"messages": "messages"},
}
_TAGS = {
    "alpaca": {},
    "sharegpt": {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "observation_tag": "observation",
        "function_tag": "function_call",
        "system_tag": "system",
    },
    "openai": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "function_tag": "function_call",
        "system_tag": "system",
    },
}
_REFUSED_PLACES = {
    "script_url": "a loading script, which would run its code",
    "cloud_file_name": "a file in cloud storage",
    "ms_hub_url": "the ModelScope hub",
    "om_hub_url": "the Modelers hub",
}


@dataclass(frozen=True)
class DataSet:
    """One data set: where its rows are, which of them are meant, and how they are laid out."""

    name: str
    """As the config names it."""
    place: Path | str
    """A file or folder; or, as text, the id of a data set on the hub."""
    layout: Layout
    """How its rows are laid out."""
    explicit_columns: bool
    """Whether the columns were named, rather than taken as usual."""
    subset: str | None = None
    """Which configuration of a data set on the hub."""
    split: str | None = None
    """Which split; ``None`` for the training one."""
    folder: str | None = None
    """Folder within a data set on the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    num_samples: int | None = None
    """How many rows to draw at random; ``None`` for all."""
    missing: str = ""
    """What a person should look at first where the hub has no such data set."""


_ONLINE = "ONLINE"
"""The ``dataset_dir`` by which LLaMA-Factory takes names for ids on the hub."""
_REMOTE = "REMOTE:"
"""What a ``dataset_dir`` begins with that is on the hub."""


def find_data_sets(config: Config) -> list[DataSet]:
    """The data sets that a config names.

    A name is looked up in ``dataset_info.json``, then as a file or folder, then on the hub.

    Raises:
        ProbeError: If one cannot be found, or is described wrongly.
    """
    if config.dataset_dir.startswith(_REMOTE):
        raise ProbeError(
            f"dataset_dir: {config.dataset_dir} is a description on the hub, which is not read: "
            "fetch that data set, and name its folder"
        )
    directory = config.locate(config.dataset_dir)
    if directory is not None and not directory.is_dir():
        raise ProbeError(f"dataset_dir: {directory} is a file, but a folder is needed")
    info_path = directory / "dataset_info.json" if directory else None
    info = _read_info(info_path) if info_path and info_path.is_file() else None
    return [_find(config, name, directory, info) for name in config.dataset or ()]


def _find(
    config: Config, name: str, directory: Path | None, info: Mapping[str, Any] | None
) -> DataSet:
    if info is not None and directory is not None and name in info:
        return _described(config, name, directory, info[name])
    path = config.locate(name)
    if path is None and directory is not None and os.path.exists(directory / name):
        path = directory / name
    if path is not None:
        return _data_set(config, name, path, {}, where=f"dataset: {name}")
    # Without a slash it is far more likely to be a misspelt entry than something on the hub.
    missing = "" if directory or config.dataset_dir == _ONLINE else _missing(config)
    described = info is not None or (missing and config.dataset_dir != _USUAL_DIRECTORY)
    if hub.is_id(name) and ("/" in name or not described):
        where = f"dataset: {name}"
        return replace(_data_set(config, name, name, {}, where=where), missing=missing)
    if missing:
        raise ProbeError(f"dataset: {name}: {missing}, and {name} is no file or folder either")
    if info is not None:
        listed = (
            f"an entry of {directory}/dataset_info.json ({shown_names(info) or 'which has none'})"
        )
    else:
        listed = (
            f"an entry of dataset_info.json (there is none in dataset_dir, {config.dataset_dir})"
        )
    raise ProbeError(f"dataset: {name} is neither {listed}, nor a file or folder, nor a hub id")


_USUAL_DIRECTORY = "data"


def _missing(config: Config) -> str:
    """Says that the folder of data sets is not there."""
    places = " or ".join(dict.fromkeys(str(base) for base in config.bases))
    where = "" if os.path.isabs(os.path.expanduser(config.dataset_dir)) else f" in {places}"
    return f"dataset_dir: there is no folder {config.dataset_dir}{where}"


def _described(config: Config, name: str, directory: Path, entry: Any) -> DataSet:
    """A data set that ``dataset_info.json`` describes."""
    where = f"{directory / 'dataset_info.json'}: {name}"
    if not isinstance(entry, Mapping):
        raise ProbeError(f"{where}: {shown(entry)} is not a mapping that describes a data set")
    if entry.get("hf_hub_url"):
        place: Path | str = _text(entry, "hf_hub_url", where) or ""
        if not hub.is_id(str(place)):
            raise ProbeError(f"{where}: hf_hub_url: {shown(place)} is not the id of a data set")
        return _data_set(config, name, place, entry, where=where)
    for key, meaning in _REFUSED_PLACES.items():
        if entry.get(key):
            raise ProbeError(
                f"{where}: {key} is {meaning}, which is not read: give file_name or hf_hub_url"
            )
    file_name = _text(entry, "file_name", where)
    if file_name is None:
        raise ProbeError(f"{where}: names neither file_name nor hf_hub_url")
    place = directory / file_name
    if not os.path.exists(place):
        raise ProbeError(f"{where}: file_name: {place}: there is no such file or folder")
    return _data_set(config, name, place, entry, where=where)


def _data_set(
    config: Config, name: str, place: Path | str, entry: Mapping[str, Any], *, where: str
) -> DataSet:
    """A data set as its entry describes it, where the config says nothing else."""
    formatting = config.formatting or entry.get("formatting") or "alpaca"
    if formatting not in FORMATTINGS:
        raise ProbeError(
            f"{where}: formatting: {shown(formatting)} is not one of {', '.join(FORMATTINGS)}"
        )
    named = config.columns or _names(entry, "columns", COLUMNS, where)
    plain_text = isinstance(place, Path) and ".txt" in place.suffixes
    usual = {"prompt": "text"} if plain_text else _COLUMNS[formatting]
    columns = usual if named is None else named
    tags = config.tags or _names(entry, "tags", TAGS, where) or _TAGS[formatting]
    layout = Layout(formatting, columns, tags, entry.get("ranking") is True)
    _check_layout(layout, where)
    return DataSet(
        name=name,
        place=place,
        layout=layout,
        explicit_columns=named is not None,
        subset=config.subset or _text(entry, "subset", where),
        split=config.split or _text(entry, "split", where),
        folder=_text(entry, "folder", where),
        revision=_text(entry, "revision", where),
        num_samples=config.num_samples or _number(entry, where),
    )


def _check_layout(layout: Layout, where: str) -> None:
    """Refuse a layout from which no prompt can come."""
    if layout.formatting == "alpaca":
        if not {"prompt", "query"} & set(layout.columns):
            raise ProbeError(f"{where}: columns: alpaca rows need prompt or query among them")
        return
    if "messages" not in layout.columns:
        raise ProbeError(f"{where}: columns: {layout.formatting} rows need messages among them")
    needed = [tag for tag in ("role_tag", "content_tag", "user_tag") if tag not in layout.tags]
    if needed:
        raise ProbeError(
            f"{where}: tags: {', '.join(needed)} left out, which means none, but "
            f"{layout.formatting} rows need them"
        )


def _read_info(path: Path) -> Mapping[str, Any]:
    try:
        info = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ProbeError(f"{path}: is not readable JSON: {one_line(error)}") from None
    if not isinstance(info, dict):
        raise ProbeError(f"{path}: holds {shown(info)}, but a mapping of data sets is needed")
    return info


def _names(
    entry: Mapping[str, Any], key: str, names: tuple[str, ...], where: str
) -> dict[str, str] | None:
    """The names that we use of a mapping in an entry; ``None`` when the entry has none."""
    mapping = entry.get(key)
    if mapping is None:
        return None
    if not isinstance(mapping, Mapping):
        raise ProbeError(f"{where}: {key}: {shown(mapping)} is not a mapping of names")
    return {name: text for name in names if (text := _text(mapping, name, f"{where}: {key}"))}


def _text(entry: Mapping[str, Any], key: str, where: str) -> str | None:
    value = entry.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ProbeError(f"{where}: {key}: {shown(value)} is not text")
    return value


def _number(entry: Mapping[str, Any], where: str) -> int | None:
    if entry.get("num_samples") is None:
        return None
    try:
        return int(integer(1)(entry["num_samples"]))
    except ValueError as error:
        raise ProbeError(f"{where}: num_samples: {error}") from None
