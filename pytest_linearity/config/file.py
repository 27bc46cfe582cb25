"""From a YAML file and overrides to the raw values of our keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pytest_linearity.errors import ConfigError, first_line, one_line, shown, shown_name

if TYPE_CHECKING:
    from omegaconf import DictConfig

SECTION = "analysis"
_ALTERNATIVES = (("prompts", "dataset"), ("param_scopes", "param_scope"))
"""Keys of which only one can be used."""
_OTHER_NAMES = ("linearity", "pytest_linearity")
"""What people call our section, which is none of its names."""
_RESEMBLANCE = 0.7
_SECTION_RESEMBLANCE = 0.75

_REFUSED = {
    "adapter_name_or_path": "adapters cannot be measured: merge them into the base model first",
    "quantization_bit": "quantised weights cannot be measured: take the unquantised checkpoint",
    "quantization_method": "quantised weights cannot be measured: take the unquantised checkpoint",
    "quantization_type": "quantised weights cannot be measured: take the unquantised checkpoint",
    "quantization_config": "quantised weights cannot be measured: take the unquantised checkpoint",
    "double_quantization": "quantised weights cannot be measured: take the unquantised checkpoint",
    "load_in_4bit": "quantised weights cannot be measured: take the unquantised checkpoint",
    "load_in_8bit": "quantised weights cannot be measured: take the unquantised checkpoint",
}
"""Keys of training configs that name something no figure can be given for."""

_WITHOUT_EFFECT = {
    "flash_attn": (
        ("auto", "disabled", "off", False),
        "attention is always eager, as no other kernel has a forward-mode derivative",
    ),
    "infer_dtype": (
        ("auto",),
        "weights stay in the checkpoint's own dtype; precision says what is computed in",
    ),
}
"""Keys of training configs that are accepted, the values that say nothing, and what holds."""

_OTHER_DATA = (
    "tokenized_path",
    "eval_dataset",
    "test_datasets",
    "pretraining_dataset",
    "dataset_name",
    "dataset_path",
    "dataset_prepared_path",
    "dataset_mixture",
    "data_path",
    "data_files",
    "train_data",
    "train_dataset",
    "train_file",
    "train_files",
    "validation_file",
    "val_file",
    "val_files",
    "test_file",
)
"""Keys by which training configs name data that is not read."""

_OF_A_DATA_SET = (
    "dataset_dir",
    "subset",
    "split",
    "formatting",
    "columns",
    "tags",
    "max_samples",
    "num_samples",
    "template",
    "template_from",
    "enable_thinking",
    "chat_template_kwargs",
    "default_system",
)
"""Keys of ours that say something of data sets alone."""


@dataclass(frozen=True)
class RawKeys:
    """What a YAML file and the overrides say about our keys."""

    values: dict[str, Any]
    """Raw value of each of our keys that is given and not null."""
    warnings: tuple[str, ...]
    """What a person should be told: misspelt keys, keys without effect."""


def read_keys(path: Path, overrides: Sequence[str], *, known: Collection[str]) -> RawKeys:
    """Read our keys from a YAML file, with interpolations resolved and overrides applied.

    Raises:
        ConfigError: If the file or an override cannot be read, or a key is given that cannot be
            honoured (an adapter, quantised weights).
    """
    return keys_of(path, *_levels(path), overrides, known=known)


def keys_of(
    path: Path,
    root: dict[str, Any],
    section: dict[str, Any],
    overrides: Sequence[str],
    *,
    known: Collection[str],
) -> RawKeys:
    """Our keys of a root and a section that are there already.

    Args:
        path: What messages call their place.
        root: The keys at the root.
        section: Those of our section.
        overrides: ``key=value`` texts.
        known: Our keys.

    Raises:
        ConfigError: As `read_keys`.
    """
    concerned = {*known, *_REFUSED, *_WITHOUT_EFFECT}
    assigned = _assignments(overrides, {*concerned, *root, *section})
    tree = _tree(path, root, section, assigned, concerned)
    levels = (root, section, assigned)
    unused = {key for pair in _ALTERNATIVES for key in _unused_alternative(path, pair, levels)}
    values: dict[str, Any] = {}
    for key in concerned & {str(key) for key in tree} - unused:
        value = _resolved(path, tree, key)
        if value is not None:
            values[key] = value
    _refuse(path, values)
    notes = [*_misspelt(root, known), *_strangers(section, known), *_idle(values)]
    if not any(level.get("dataset") for level in levels):
        notes += _unread_data(root, values)
    return RawKeys({key: values[key] for key in known if key in values}, tuple(notes))


def _levels(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys at the root of a file and those of our section; keys that are not text are none."""
    root = read_mapping(path)
    section = root.get(SECTION)
    if section is None:
        section = {}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: {SECTION}: {shown(section)} is not a mapping of keys to values")
    textual = [{k: v for k, v in level.items() if isinstance(k, str)} for level in (root, section)]
    return textual[0], textual[1]


def _assignments(overrides: Sequence[str], available: Collection[str]) -> dict[str, Any]:
    """The overrides as a tree of keys and values."""
    from omegaconf import OmegaConf

    texts = []
    for override in overrides:
        key, equals, value = override.partition("=")
        key = key.strip().removeprefix(f"{SECTION}.")
        name = re.split(r"[.\[]", key, maxsplit=1)[0]
        if not equals or not name:
            raise ConfigError(f"override {shown(override)}: is not of the form key=value")
        if name not in available:
            hint = _closest(name, available)
            raise ConfigError(
                f"override {shown(override)}: there is no key {shown(name)}"
                + (f"; did you mean {hint}?" if hint else "")
            )
        texts.append(f"{key}={value}")
    assigned: dict[str, Any] = {}
    for count, text in enumerate(texts, start=1):  # each with those before it, which it may change
        try:
            assigned = dict(OmegaConf.from_dotlist(texts[:count]))
        except Exception as error:  # YAML's and omegaconf's errors have no common base
            raise ConfigError(f"override {shown(text)}: {_problem(error)}") from None
    return assigned


def _tree(
    path: Path,
    root: Mapping[str, Any],
    section: Mapping[str, Any],
    assigned: Mapping[str, Any],
    concerned: Collection[str],
) -> DictConfig:
    """All keys, the section's over the root's and the overrides' over both, for interpolation."""
    from omegaconf import OmegaConf

    tree = OmegaConf.create({}, flags={"allow_objects": True})
    for key, value in [*root.items(), *section.items()]:
        try:
            tree[key] = value
        except Exception as error:  # omegaconf's errors have no common base
            if key in concerned:
                problem = _interpolation_problem(value, error)
                raise ConfigError(f"{path}: {key}: {problem}") from None
    for key, value in assigned.items():
        try:
            OmegaConf.update(tree, key, value, merge=True)
        except Exception as error:
            raise ConfigError(f"override {key}: {_problem(error)}") from None
    return tree


def _resolved(path: Path, tree: DictConfig, key: str) -> Any:
    """The plain value of a key, with every ``${...}`` in it replaced."""
    from omegaconf import Container, OmegaConf

    try:
        value = tree[key]
        nested = isinstance(value, Container)
        return OmegaConf.to_container(value, resolve=True) if nested else value
    except Exception as error:  # a resolver may raise anything
        written: Any = OmegaConf.to_container(tree, resolve=False)
        problem = _interpolation_problem(written[key], error)
        raise ConfigError(f"{path}: {key}: {problem}") from None


def _interpolation_problem(value: object, error: Exception) -> str:
    """What is wrong with a value that omegaconf cannot take."""
    if "${" in repr(value):
        reason = f"{first_line(error)} (write \\${{ for a literal ${{)"
        return f"{shown(value)} cannot be resolved: {reason}"
    return f"{shown(value)} cannot be used: {_problem(error)}"


def _unused_alternative(
    path: Path, pair: tuple[str, str], levels: Sequence[Mapping[str, Any]]
) -> set[str]:
    """Which of two alternatives the later levels overrule."""
    for level in reversed(levels):
        given = {key for key in pair if level.get(key) is not None}
        if len(given) > 1:
            raise ConfigError(
                f"{path}: {pair[0]} is given together with {pair[1]}: only one can be used"
            )
        if given:
            return set(pair) - given
    return set()


def _refuse(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse keys that name something no figure can be given for."""
    for key, reason in _REFUSED.items():
        if values.get(key):
            raise ConfigError(f"{path}: {key}: {reason}")


def _misspelt(root: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """A warning for each unknown key at the root that looks like one of ours, or like our section.

    The file may be a whole training config, so that most keys are somebody else's.
    """
    ours = {*known, *_REFUSED, *_WITHOUT_EFFECT, SECTION}
    notes = []
    for key, value in root.items():
        if key in ours or key in _OTHER_DATA:
            continue
        first, dot, _ = key.partition(".")
        if dot and _is_section(first):
            notes.append(
                f"{shown_name(key)} is one key with a dot in its name, and is not used; write it "
                f"below {SECTION}:, without {shown_name(first)}."
            )
        elif isinstance(value, Mapping) and _is_section(key):
            notes.append(
                f"{shown_name(key)} is not a section of pytest-linearity, and nothing in it is "
                f"used; did you mean {SECTION}?"
            )
        elif key not in _training_keys() and (hint := _closest(key, known)):
            notes.append(
                f"{shown_name(key)} is not a key of pytest-linearity; did you mean {hint}?"
            )
    return notes


def _strangers(section: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """A warning for each key of our section that is none of ours: there is nobody else's."""
    notes = []
    for key in section.keys() - {*known, *_REFUSED, *_WITHOUT_EFFECT}:
        hint = _closest(key, known)
        inner = f": its keys belong directly below {SECTION}" if _is_section(key) else ""
        notes.append(
            f"{SECTION}.{shown_name(key)} is not a key of pytest-linearity{inner}"
            + (f"; did you mean {hint}?" if hint and not inner else "")
        )
    return sorted(notes)


def _is_section(name: str) -> bool:
    """Whether a name is that of our section: in other letters, misspelt, or as people call it."""
    spelt = name.lower().replace("-", "_")
    alike = difflib.get_close_matches(spelt, [SECTION], cutoff=_SECTION_RESEMBLANCE)
    return bool(alike) or spelt in _OTHER_NAMES


def _closest(key: str, known: Collection[str]) -> str | None:
    """The known key that a misspelt one looks like, or that it is behind our name."""
    spelt = key.lower().replace("-", "_")
    for name in (SECTION, *_OTHER_NAMES):
        spelt = spelt.removeprefix(f"{name}_")
    matches = difflib.get_close_matches(spelt, sorted(known), n=1, cutoff=_RESEMBLANCE)
    return matches[0] if matches else None


def _training_keys() -> list[str]:
    """Keys of training configs that look like ours and are not meant to be."""
    listing = files("pytest_linearity") / "data" / "training_keys.txt"
    return listing.read_text(encoding="utf-8").split()


def _idle(values: Mapping[str, Any]) -> list[str]:
    """A note for each key whose value has no effect here."""
    return [
        f"{key}: {shown(values[key])} has no effect: {reason}"
        for key, (silent, reason) in _WITHOUT_EFFECT.items()
        if key in values and values[key] not in silent
    ]


def _unread_data(root: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Says, where no data set is measured, which keys name data or say something of it."""
    others = [key for key in _OTHER_DATA if root.get(key)] if "prompts" not in values else []
    keys = [*others, *(key for key in _OF_A_DATA_SET if key in values)]
    if not keys:
        return []
    instead = "those under prompts" if "prompts" in values else "the built-in ones"
    verb = "has" if len(keys) == 1 else "have"
    return [
        f"{', '.join(keys)} {verb} no effect: the prompts are {instead} (dataset names data to "
        "measure on)"
    ]


def read_mapping(path: Path) -> dict[Any, Any]:
    """The mapping that a YAML file holds, by the safe loader.

    Raises:
        ConfigError: If the file is missing, unreadable, not YAML, or holds no mapping.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    try:
        repeated = _repeated_key(yaml.compose(text, Loader=yaml.SafeLoader))
        document = yaml.safe_load(text)
    # PyYAML's constructors let all sorts through: ValueError, KeyError, RecursionError, …
    except Exception as error:
        raise ConfigError(f"{path}: is not valid YAML: {_problem(error)}") from None
    if repeated:
        raise ConfigError(f"{path}: {repeated}")
    if not isinstance(document, dict):
        found = "is empty" if document is None else f"holds {shown(document)}"
        raise ConfigError(f"{path}: {found}, but a mapping of keys to values is needed")
    return document


def _repeated_key(node: yaml.Node | None) -> str | None:
    """Says which key of a mapping, however deep, is written twice: YAML would take the last."""
    ahead = [] if node is None else [("", node)]
    visited: set[int] = set()  # what an alias stands for is looked at once
    while ahead:
        name, node = ahead.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        below = f"{name}." if name else ""
        if isinstance(node, yaml.SequenceNode):
            ahead += [(f"{below}{place}", entry) for place, entry in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            continue
        keys = [(key, entry) for key, entry in node.value if isinstance(key, yaml.ScalarNode)]
        for place, (key, entry) in enumerate(keys):
            if any(key.value == other.value for other, _ in keys[:place]):
                line = key.start_mark.line + 1
                return f"{shown_name(below + key.value)} is given twice (line {line})"
            ahead.append((f"{below}{key.value}", entry))
    return None


def _problem(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return one_line(error, most=None)
