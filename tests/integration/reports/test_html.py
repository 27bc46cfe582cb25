"""The web page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from pytest_linearity.report.html.page import html
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.results import Failure, Result
from tests.support.reports import HOSTILE, measured, regressed, series

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """A page, taken apart; every element must be closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def hostile() -> str:
    """A page all of whose values try to break out."""
    result = Result(HOSTILE, HOSTILE, None, measured(path=HOSTILE, default_system=HOSTILE).report)
    values: dict[str, Any] = {"summary": HOSTILE, HOSTILE: [HOSTILE]}
    values["rows"] = [{"dataset": HOSTILE, "row": 0, "tokens": 1, "hash": HOSTILE}]
    for part in (result.report.probes, result.report.checkpoint):
        part.update(values)  # type: ignore[attr-defined]
    object.__setattr__(result.report, "environment", values)
    object.__setattr__(result.report, "scope", values)
    return html([result], [Failure(HOSTILE, None, HOSTILE)])


@pytest.fixture(scope="module")
def several() -> str:
    return html(series(), [Failure("gate.yaml", "checkpoint-400", "cut short")])


def test_one_checkpoint() -> None:
    page = Page(html([regressed(measured())]))
    for words in (
        "✗ fails gate.yaml",
        "linearity radius 0.3 tested up to 1.0",
        "saves/run/checkpoint-500: LlamaForCausalLM, 743,808 parameters, bfloat16 · 2 prompts",
        "r=1.0: mean relative error 0.31 > 0.20",
        "1.0 0.3100 ± 0.1860 0.9327 ± 0.0942 1.0e-06 float32 ✗ no",
        "it grew 41%",
        "1.0 0.2200 0.3100 +40.9% [0.05, 0.13] regressed",
        "relerr_threshold 0.2",
    ):
        assert words in page.text
    assert page.tags.count("svg") == 1


def test_every_key_of_the_config_is_shown() -> None:
    result = measured(slope=0.01)
    text = Page(html([result])).text
    for key in result.report.config:
        assert key in text
    assert "✓ passes" in text


def test_several_checkpoints_begin_with_their_series(several: str) -> None:
    page = Page(several)
    assert page.tags.count("svg") == 4
    assert "4 checkpoints ✗ fails 2 of 4 fail" in page.text
    assert "300 checkpoint-300 0.3 ✗ no 0.0215 0.0646 0.2155" in page.text
    assert "not measured: cut short" in page.text
    targets = {value for name, value in page.attributes if name == "id"}
    links = [value for name, value in page.attributes if name == "href" and value]
    assert links
    assert all(link.removeprefix("#") in targets for link in links)


def test_ids_are_unique(several: str) -> None:
    ids = [value for name, value in Page(several).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_needs_nothing_but_itself(several: str) -> None:
    page = Page(several)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert value
            assert value.startswith("#")
    assert "@import" not in several
    assert not re.findall(r"url\((?!#)", several)
    assert not re.findall(r"https?://", several)


def test_adapts_to_dark_mode_and_paper(several: str) -> None:
    assert "@media (prefers-color-scheme: dark)" in several
    assert "@media print" in several
    used = set(re.findall(r"var\((--\w+)\)", several))
    assert used <= set(re.findall(r"(--\w+):", several))


def test_nothing_from_outside_is_markup(hostile: str) -> None:
    page = Page(hostile)
    assert "script" not in page.tags
    assert "<script" not in hostile
    assert page.text.count("<script>alert(1)</script>") >= 10


def test_only_checkpoints_that_could_not_be_measured() -> None:
    page = Page(html([], [Failure("gate.yaml", "a", "cut short")]))
    assert "not measured: cut short" in page.text


def test_steps_that_are_not_known_have_no_column() -> None:
    results = [measured(label=name) for name in ("base", "tuned")]
    summary = markdown(results)
    assert "### gate.yaml\n\n| checkpoint | linearity radius |" in summary
    assert "\n| base | 0.3 | 0.0310 | 0.0930 | 0.3100 | ❌ no |" in summary
    assert "<th>step</th>" not in html(results)
    assert "<th>step</th>" in html(series())
