"""Reports read back from disk: exactly what was written, or one line that says why not."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.errors import ConfigError
from pytest_linearity.report.json import json_text, read_report, write_json
from pytest_linearity.verdict.document import SCHEMA_VERSION, RadiusFigures, Report
from tests.support.figures import LIMITS
from tests.support.paired import report

ERRORS = {0.1: [[0.1, 0.2], [0.15, None]], 1.0: [[0.3, 1e-300], [0.1 + 0.2, 7.0]]}


def full() -> Report:
    """A report none of whose fields has its default."""
    whole = report(ERRORS)
    first, second = whole.radii
    return replace(whole, radii=(replace(first, routing_flips=3), replace(second, reason="why")))


class TestRoundTrip:
    def test_every_field_of_a_report(self) -> None:
        whole = full()
        again = Report.from_dict(json.loads(json.dumps(whole.to_dict())))
        for key in fields(Report):
            assert getattr(again, key.name) == getattr(whole, key.name), key.name
            if not key.name.endswith("by_kind"):  # see test_by_kind.py
                assert getattr(whole, key.name) not in ({}, ()), f"{key.name} shows nothing here"

    def test_every_field_of_a_radius(self) -> None:
        for figures in full().radii:
            again = RadiusFigures.from_dict(figures.radius, figures.to_dict(), LIMITS)
            for key in fields(RadiusFigures):
                assert getattr(again, key.name) == getattr(figures, key.name), key.name

    def test_through_a_file(self, tmp_path: Path) -> None:
        write_json(full(), tmp_path / "report.json")
        assert read_report(tmp_path / "report.json") == full()

    def test_no_linearity_radius(self) -> None:
        none = replace(full(), linearity_radius=None, passed=False)
        assert Report.from_dict(none.to_dict()) == none

    def test_radii_come_in_ascending_order(self) -> None:
        document = full().to_dict()
        document["metrics"] = dict(reversed(document["metrics"].items()))
        assert [figures.radius for figures in Report.from_dict(document).radii] == [0.1, 1.0]

    def test_unknown_keys_are_left_out(self) -> None:
        document = full().to_dict()
        document["later"] = 1
        document["metrics"]["0.1"]["later"] = 1
        assert Report.from_dict(document) == full()

    def test_a_number_written_without_its_fraction(self) -> None:
        document = full().to_dict()
        document["linearity_radius"] = 1
        read = Report.from_dict(document)
        assert isinstance(read.linearity_radius, float)

    def test_a_report_from_before_pairs_were_kept(self, tmp_path: Path) -> None:
        document = full().to_dict()
        del document["pairs"]
        (tmp_path / "old.json").write_text(json.dumps(document))
        assert read_report(tmp_path / "old.json") == replace(full(), pairs={})


class TestRefusal:
    def refused(self, path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            read_report(path)
        message = str(caught.value)
        assert "\n" not in message
        assert path.name in message
        return message

    def written(self, directory: Path, content: Any) -> Path:
        path = directory / "report.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    def test_missing(self, tmp_path: Path) -> None:
        assert "there is no such report" in self.refused(tmp_path / "none.json")

    def test_a_directory(self, tmp_path: Path) -> None:
        assert "is a directory" in self.refused(tmp_path)

    def test_below_a_file(self, tmp_path: Path) -> None:
        self.written(tmp_path, "{}")
        assert "cannot be read" in self.refused(tmp_path / "report.json" / "report.json")

    @pytest.mark.parametrize(
        ("text", "mentioned"),
        [
            ("", "this is not JSON (Expecting value: line 1, column 1)"),
            ("{'a': 1}", "not JSON"),
            ('{"schema_version": NaN}', "NaN is not a JSON number"),
            ("[" * 100_000, "not JSON"),
        ],
    )
    def test_not_json(self, text: str, mentioned: str, tmp_path: Path) -> None:
        assert mentioned in self.refused(self.written(tmp_path, text))

    def test_not_even_text(self, tmp_path: Path) -> None:
        (tmp_path / "model.bin").write_bytes(bytes(range(256)))
        assert "not JSON" in self.refused(tmp_path / "model.bin")

    @pytest.mark.parametrize(
        "content", [[], 1, {}, {"schema_version": "1"}, {"schema_version": True}, {"metrics": {}}]
    )
    def test_not_a_report(self, content: Any, tmp_path: Path) -> None:
        message = self.refused(self.written(tmp_path, content))
        assert "this is not a report of pytest-linearity: it has no schema_version" in message

    def test_of_a_newer_version(self, tmp_path: Path) -> None:
        document = {**full().to_dict(), "schema_version": SCHEMA_VERSION + 1}
        message = self.refused(self.written(tmp_path, document))
        assert f"schema_version {SCHEMA_VERSION + 1} is newer than {SCHEMA_VERSION}" in message

    @pytest.mark.parametrize("key", ["config", "checkpoint", "metrics", "passed"])
    def test_a_part_is_missing(self, key: str, tmp_path: Path) -> None:
        document = full().to_dict()
        del document[key]
        assert key in self.refused(self.written(tmp_path, document))

    @pytest.mark.parametrize(
        ("place", "value", "mentioned"),
        [
            (["metrics"], {}, "metrics holds no radius"),
            (["metrics"], [1], "metrics holds no radius"),
            (["metrics"], {"wide": {}}, "metrics has the key 'wide', which is not a number"),
            (["metrics", "0.1"], 3, "metrics.0.1 is not an object"),
            (["metrics", "0.1", "complies"], "yes", "metrics.0.1.complies is 'yes', not true or"),
            (["metrics", "0.1", "mean_relative_error"], "x", "'x', not a number or null"),
            (["metrics", "0.1", "mean_relative_error"], True, "True, not a number or null"),
            (["metrics", "0.1", "precision"], None, "metrics.0.1.precision is None, not text"),
            (["linearity_radius"], [], "linearity_radius is [], not a number or null"),
            (["probes"], "all", "probes is 'all', not an object"),
            (["pairs"], [], "pairs is not an object"),
            (["pairs", "0.1"], [], "pairs.0.1 is not an object"),
            (["pairs", "0.1", "relative_error"], [1], "pairs.0.1.relative_error is not a list of"),
            (["pairs", "0.1", "relative_error"], [[1], []], "rows of different length"),
            (["pairs", "0.1", "relative_error"], [["x"]], "'x', not a number or null"),
            (["config", "cos_threshold"], None, "config.cos_threshold is None"),
            (["checkpoint", "parameters"], "many", "checkpoint.parameters is 'many'"),
            (["checkpoint", "dtypes"], [1], "checkpoint.dtypes is [1]"),
            (["checkpoint", "dtypes"], {"float32": "1"}, "checkpoint.dtypes.float32 is '1'"),
        ],
    )
    def test_a_value_that_cannot_be(
        self, place: list[str], value: Any, mentioned: str, tmp_path: Path
    ) -> None:
        document = json.loads(json.dumps(full().to_dict()))
        part = document
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        message = self.refused(self.written(tmp_path, document))
        assert "this is not a report of pytest-linearity: " in message
        assert mentioned in message

    def test_a_number_beyond_all(self, tmp_path: Path) -> None:
        text = json.dumps(full().to_dict()).replace("1e-300", "1e999")
        assert "not finite" in self.refused(self.written(tmp_path, text))


class TestLayout:
    def test_holds_what_json_holds(self) -> None:
        document = full().to_dict()
        assert json.loads(json_text(document)) == document

    @pytest.mark.parametrize("value", [{}, [], [[]], [{}], {"a": {}}, {"a": []}, "x", None, 0.1])
    def test_of_little(self, value: Any) -> None:
        assert json.loads(json_text(value)) == value

    def test_is_readable(self) -> None:
        document = {
            "config": {"prompts": ["one", "two"], "radii": [0.1, 1.0]},
            "rows": [{"dataset": "d", "row": 0}],
            "pairs": {"0.1": {"relative_error": [[0.1, None], [0.2, 0.3]]}},
        }
        assert json_text(document) == (
            "{\n"
            '  "config": {\n'
            '    "prompts": [\n'
            '      "one",\n'
            '      "two"\n'
            "    ],\n"
            '    "radii": [0.1, 1.0]\n'
            "  },\n"
            '  "rows": [\n'
            '    {"dataset": "d", "row": 0}\n'
            "  ],\n"
            '  "pairs": {\n'
            '    "0.1": {\n'
            '      "relative_error": [\n'
            "        [0.1, null],\n"
            "        [0.2, 0.3]\n"
            "      ]\n"
            "    }\n"
            "  }\n"
            "}"
        )
