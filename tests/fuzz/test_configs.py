"""Configs near our schema: the values that a small reference gives, or one line; no limit is lost.

The reference knows a scalar by a table of what YAML makes of it, and a key by its bounds.
"""

from __future__ import annotations

import difflib
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_linearity.config.config import KEYS, Config
from pytest_linearity.config.loading import load_config
from pytest_linearity.errors import ConfigError
from tests.support.configs import SFT
from tests.support.fuzzing import fuzzing

LONG = "x" * 300
INVALID = object()
"""What the reference makes of a value that a key cannot have."""

Meaning = Callable[[Any], Any]
"""What a key makes of a value: its own, or `INVALID`."""


def number(low: float, high: float, *, above: bool = False) -> Meaning:
    def meaning(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return INVALID
        try:
            found = float(value)
        except (ValueError, OverflowError):
            return INVALID
        fits = low < found <= high if above else low <= found <= high
        return found if fits and math.isfinite(found) else INVALID

    return meaning


def whole(low: int, high: float) -> Meaning:
    def meaning(value: Any) -> Any:
        found = number(-math.inf, math.inf)(value)
        if found is INVALID:  # as an integer may be that no float can hold
            found = value if isinstance(value, int) and not isinstance(value, bool) else INVALID
        if found is INVALID or found != int(found):
            return INVALID
        exact = value if isinstance(value, int) else int(found)
        return exact if low <= exact <= high else INVALID

    return meaning


def count(value: Any) -> Any:
    return {"min": 2, "max": 64} if value == {} else whole(1, 10**6)(value)


def boolean(value: Any) -> Any:
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    return words.get(str(value).lower(), INVALID) if isinstance(value, (str, int)) else INVALID


def word(*choices: str) -> Meaning:
    return lambda value: value if isinstance(value, str) and value in choices else INVALID


def any_text(value: Any) -> Any:
    return value if value == "" else text(value)


def text(value: Any) -> Any:
    return value if isinstance(value, str) and value.strip() else INVALID


REFERENCE: Mapping[str, tuple[Any, Meaning]] = {
    "relerr_threshold": (0.20, number(0, math.inf)),
    "cos_threshold": (0.95, number(-1, 1)),
    "max_regression": (0.10, number(0, math.inf)),
    "perturbation_std": (1e-3, number(0, math.inf, above=True)),
    "batch_size": (8, whole(1, math.inf)),
    "cutoff_len": (2048, whole(1, math.inf)),
    "seed": (42, whole(0, 2**63 - 1)),
    "num_directions": (8, count),
    "second_order": (False, boolean),
    "refine": (False, boolean),
    "share_prefix": (True, boolean),
    "precision": ("auto", word("auto", "float32", "float64")),
    "radius_unit": ("absolute", word("absolute", "relative")),
    "model_revision": ("main", text),
    "default_system": (None, any_text),
}
"""Some keys, their defaults, and what values they may have."""

SCALARS: Mapping[str, Any] = {
    "0": 0,
    "1": 1,
    "-1": -1,
    "0.3": 0.3,
    "'0.3'": "0.3",
    "-0.0": -0.0,
    "1e-3": "1e-3",
    "1.0e-3": 1.0e-3,
    "1e400": "1e400",
    "1.0e+400": math.inf,
    ".inf": math.inf,
    "-.inf": -math.inf,
    ".nan": math.nan,
    "1_000": 1000,
    "0x10": 16,
    "010": 8,
    "1:30": 90,
    "9223372036854775807": 2**63 - 1,
    "9223372036854775808": 2**63,
    "1" + "0" * 400: 10**400,
    "7.0": 7.0,
    "7.5": 7.5,
    "null": None,
    "~": None,
    "''": "",
    "'  '": "  ",
    "true": True,
    "'true'": "true",
    "Yes": True,
    "off": False,
    "auto": "auto",
    "float32": "float32",
    "Float32": "Float32",
    "relative": "relative",
    "[]": [],
    "[0.1]": [0.1],
    "{}": {},
    "{a: 1}": {"a": 1},
    "2020-01-01": "a date",
    "'a\\nb'": "a\\nb",
    '"a\\nb"': "a\nb",
    "größe": "größe",
    '"\\u202e"': "\u202e",
    "😀": "😀",
    LONG: LONG,
    "ä" * 150: "ä" * 150,
}
"""How a value is written, and what YAML makes of it."""


IN_OVERRIDES: Mapping[str, Any] = {"1e-3": 1e-3, "1e400": math.inf, "2020-01-01": "2020-01-01"}
"""What overrides have another meaning for: they follow a later YAML."""


def meaning(key: str, written: str, *, override: bool) -> Any:
    """The reference's value of a key that is written so."""
    value = {**SCALARS, **(IN_OVERRIDES if override else {})}[written]
    default, rule = REFERENCE[key]
    if value is None:
        return default
    return INVALID if value == "a date" else rule(value)


def spellings(key: str) -> list[str]:
    """Ways in which people write a key and do not mean to."""
    return [
        key.upper(),
        key.title(),
        key.replace("_", "-"),
        f"analysis_{key}",
        f"linearity_{key}",
        f"analysis.{key}",
        key[:-1],
        f"{key}s",
        f"{key[:3]}{key[2:]}",
        f"{key[:2]}{key[3]}{key[2]}{key[4:]}",
    ]


SECTIONS = (
    "Analysis",
    "ANALYSIS",
    "analisys",
    "analyses",
    "anaylsis",
    "analysis_",
    "linearity",
    "pytest-linearity",
    "pytest_linearity",
)
"""What our section is called where it is not."""
STRANGERS = ("learning_rate: 1.0e-5", "deepspeed: {stage: 3}", "größe: 1", "report_to: none")


def values_of(key: str) -> st.SearchStrategy[str]:
    """How a value of a key is written: mostly one that it can have, at times any."""
    fitting = [
        written
        for written in SCALARS
        if INVALID not in (meaning(key, written, override=o) for o in (False, True))
    ]
    few = st.sampled_from(fitting)
    return st.one_of(few, few, few, few, st.sampled_from(list(SCALARS)))


def layers(chosen: Sequence[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Some of a few keys with their values, so that layers have keys in common."""
    entry = st.sampled_from(chosen).flatmap(
        lambda key: st.tuples(st.just(key), values_of(key)),
    )
    return st.lists(entry, max_size=3, unique_by=lambda entry: entry[0])


keys = st.sampled_from(sorted(REFERENCE))
misspelt = keys.flatmap(lambda key: st.sampled_from(sorted({*spellings(key)} - {key})))


@dataclass(frozen=True)
class Case:
    """A config file with its overrides."""

    root: Sequence[tuple[str, str]]
    section: Sequence[tuple[str, str]]
    overrides: Sequence[tuple[str, str]]
    lost: Sequence[str] = ()
    """Misspelt keys, at the root."""
    lost_below: Sequence[str] = ()
    """The same in our section."""
    sections: Sequence[str] = ()
    """Sections of another name, with a limit in them."""
    strangers: Sequence[str] = field(default=())

    def text(self) -> str:
        """The file."""
        lines = ["model_name_or_path: a", *self.strangers]
        lines += [f"{key}: {written}" for key, written in self.root]
        lines += [f"{key}: 0.01" for key in self.lost]
        lines += [f"{name}: {{relerr_threshold: 0.01}}" for name in self.sections]
        below = [f"  {key}: {written}" for key, written in self.section]
        below += [f"  {key}: 0.01" for key in self.lost_below]
        return "\n".join([*lines, *(["analysis:", *below] if below else [])]) + "\n"

    def effective(self) -> dict[str, tuple[str, bool]]:
        """How each key is written where it counts, and whether by an override."""
        written = {key: (value, False) for key, value in [*self.root, *self.section]}
        return written | {key: (value, True) for key, value in self.overrides}


def cases_about(chosen: Sequence[str]) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        root=layers(chosen),
        section=layers(chosen),
        overrides=layers(chosen),
        lost=st.lists(misspelt, max_size=2, unique=True),
        lost_below=st.lists(misspelt, max_size=2, unique=True),
        sections=st.lists(st.sampled_from(SECTIONS), max_size=1),
        strangers=st.lists(st.sampled_from(STRANGERS), max_size=2, unique=True),
    )


cases = st.lists(keys, min_size=1, max_size=3, unique=True).flatmap(cases_about)


def loaded(path: Path, content: str | bytes, overrides: Sequence[str] = ()) -> Any:
    """The config and what was warned about, or the one line that refuses it."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            config = load_config(path, overrides)
        except ConfigError as error:
            return one_line(path, str(error))
    said = [str(entry.message) for entry in caught]
    for message in said:
        one_line(path, message)
    return config, said


def one_line(path: Path, message: str) -> str:
    """The message, which names the file or the override, on one line that a terminal shows."""
    assert message.startswith((f"{path}: ", "override "))
    assert message.splitlines() == [message]
    assert message.isprintable()
    assert len(message) < len(str(path)) + 500
    return message


@fuzzing(100)
@given(case=cases)
def test_values_are_those_of_the_reference(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cfg.yaml"
    overrides = [f"{key}={written}" for key, written in case.overrides]
    result = loaded(path, case.text(), overrides)
    expected = {
        key: meaning(key, written, override=override)
        for key, (written, override) in case.effective().items()
    }
    refused = {key for key, value in expected.items() if value is INVALID}
    if isinstance(result, str):
        assert any(key in result for key in refused), result
        return
    config, said = result
    assert not refused
    described = config.to_dict()
    for key, (default, _) in REFERENCE.items():
        value = expected.get(key, default)
        assert described[key] == value
        assert type(described[key]) is type(value)
    for name in (*case.lost, *(f"analysis.{name}" for name in case.lost_below), *case.sections):
        assert any(message.startswith(f"{path}: {name} is ") for message in said), name
    idle = [message for message in said if " has no effect: the prompts are " in message]
    assert len(said) - len(idle) == len(case.lost) + len(case.lost_below) + len(case.sections)


@pytest.mark.parametrize("key", REFERENCE)
def test_every_value_of_every_key(key: str) -> None:
    for written in SCALARS:
        expected = meaning(key, written, override=False)
        raw = {"model_name_or_path": "a", key: yaml.safe_load(written)}
        if expected is INVALID:
            with pytest.raises(ConfigError, match=f"^{key}: "):
                Config(**raw)
        else:
            value = getattr(Config(**raw), key)
            assert value == expected, written
            assert type(value) is type(expected)


@pytest.mark.parametrize("key", REFERENCE)
def test_every_spelling_of_every_key(key: str, tmp_path: Path) -> None:
    names = sorted({*spellings(key)} - {key})
    content = "\n".join(["model_name_or_path: a", *(f"{name}: 1" for name in names)])
    config, said = loaded(tmp_path / "cfg.yaml", content)
    assert getattr(config, key) == REFERENCE[key][0]
    for name in names:
        assert any(message.startswith(f"{tmp_path}/cfg.yaml: {name} is ") for message in said)


@fuzzing(40)
@given(case=cases, data=st.data())
def test_a_line_that_is_there_twice_is_refused(
    case: Case, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = case.text().splitlines()
    twice = data.draw(st.sampled_from([line for line in lines if not line.startswith("analysis:")]))
    at = lines.index(twice) + 1
    again = [*lines[:at], twice, *lines[at:]]
    result = loaded(tmp_path_factory.getbasetemp() / "cfg.yaml", "\n".join(again))
    key = twice.strip().partition(":")[0]
    assert isinstance(result, str)
    assert f"{key} is given twice (line {at + 1})" in result


wild = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=12)
    | st.text(min_size=246, max_size=300)
    | st.dates()
    | st.binary(max_size=5)
    | st.sampled_from(
        [
            "${seed}",
            "${analysis.seed}",
            "${oc.env:NONE}",
            "${",
            "???",
            "${oc.decode:'['}",
            "*",
            "\0",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=5) | st.none(), inner, max_size=3
        )
    ),
    max_leaves=6,
)
trees = st.dictionaries(
    st.sampled_from([*KEYS, "analysis", "Analysis", "adapter_name_or_path", "flash_attn"])
    | st.text(max_size=8),
    wild,
    max_size=5,
)


@fuzzing(60)
@given(
    tree=trees,
    section=st.none() | trees,
    overrides=st.lists(st.builds("{}={}".format, st.sampled_from(KEYS), st.text(max_size=9)))
    | st.just([]),
)
def test_a_tree_of_anything_gives_a_config_or_one_line(
    tree: dict[Any, Any],
    section: dict[Any, Any] | None,
    overrides: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    document = {"model_name_or_path": "a", **tree}
    if section is not None:
        document["analysis"] = section
    content = yaml.safe_dump(document, allow_unicode=True)
    result = loaded(tmp_path_factory.getbasetemp() / "cfg.yaml", content, overrides)
    if isinstance(result, str):
        return
    described = result[0].to_dict()
    plain = json.loads(json.dumps(described, allow_nan=False))
    assert Config(**plain).to_dict() == described


SECTION = "analysis:\n  relerr_threshold: 0.05\n  cos_threshold: 0.99\n  radii: [0.1, 0.3]\n"
edits = st.lists(
    st.tuples(
        st.sampled_from(["drop", "double", "insert", "swap"]),
        st.integers(0, len(SECTION) - 1),
        st.sampled_from(" :\n#-_[]{}'\"&*!|>%@\tax9ä"),
    ),
    min_size=1,
    max_size=3,
)


def edited(content: str, changes: Sequence[tuple[str, int, str]]) -> str:
    """A text after slips of the hand."""
    for kind, place, letter in changes:
        at = min(place, len(content) - 1)
        one = content[at]
        new = {"drop": "", "double": one * 2, "insert": one + letter, "swap": letter}[kind]
        content = content[:at] + new + content[at + 1 :]
    return content


@fuzzing(60)
@given(changes=edits)
def test_a_slip_of_the_hand_loses_no_limit_without_a_word(
    changes: list[tuple[str, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = f"{edited(SECTION, changes)}\n{SFT}"
    result = loaded(tmp_path_factory.getbasetemp() / "cfg.yaml", content)
    if isinstance(result, str):
        return
    config, said = result
    document = yaml.safe_load(content)
    section = document.get("analysis")
    levels = [document, section if isinstance(section, dict) else {}]
    for key, default in (("relerr_threshold", 0.20), ("cos_threshold", 0.95)):
        written = [level[key] for level in levels if level.get(key) is not None]
        assert getattr(config, key) == (float(written[-1]) if written else default)
        for level in levels:
            for name in level:
                if isinstance(name, str) and name != key and alike(name, key):
                    assert any(name in message for message in said), name
    for name, value in document.items():
        lost = isinstance(name, str) and name != "analysis" and alike(name, "analysis")
        if lost and isinstance(value, dict):
            assert any(name in message for message in said), name


def alike(name: str, key: str) -> bool:
    return difflib.SequenceMatcher(None, name.lower(), key).ratio() > 0.8
