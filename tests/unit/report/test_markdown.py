"""The summary for reviewers."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from pytest_linearity.report.markdown import escape, markdown
from pytest_linearity.report.results import Failure, Result
from tests.support.reports import HOSTILE, measured, regressed, series

RENDER = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render


def shown(html: str) -> str:
    """What a reader sees of a piece of HTML."""
    text = re.sub(r"<[^>]+>", "", html)
    for entity, letter in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, letter)
    return text.strip()


EXPECTED = """\
## ❌ linearity: gate.yaml fails

**linearity radius 0.3**, tested up to 1.0<br>saves/run/checkpoint-500: LlamaForCausalLM, \
743,808 parameters, bfloat16 · 2 prompts · scope full

- r=1.0: mean relative error 0.31 &gt; 0.20

| radius | relative error ≤ 0.20 | cosine similarity ≥ 0.95 | noise floor | complies |
| ---: | ---: | ---: | ---: | :--- |
| 0.1 | 0.0310 ± 0.0186 | 0.9993 ± 0.0009 | 1.0e-06 | yes |
| 0.3 | 0.0930 ± 0.0558 | 0.9939 ± 0.0085 | 1.0e-06 | yes |
| **1.0** | **0.3100 ± 0.1860** | **0.9327 ± 0.0942** | **1.0e-06** | ❌ no |

<details><summary>config</summary>

| key | value |
| :--- | :--- |
| `model_name_or_path` | saves/run/checkpoint-500 |
"""


def test_verdict_first_then_what_fails_then_the_figures() -> None:
    summary = markdown([measured()])
    assert summary.startswith(EXPECTED)
    assert "| `cos_threshold` | 0.95 |\n" in summary
    assert summary.endswith("\n\n</details>\n")


def test_a_checkpoint_that_passes() -> None:
    summary = markdown([measured(slope=0.01)])
    assert summary.startswith("## ✅ linearity: gate.yaml passes\n\n**linearity radius 1.0**")
    assert "❌" not in summary


def test_no_linearity_radius_and_figures_that_are_not_defined() -> None:
    summary = markdown([measured(undefined=(0.1, 0.3, 1.0))])
    assert "**linearity radius none**" in summary
    assert "| **0.1** | **undefined** | **undefined** |  | ❌ no |" in summary
    assert "- r=0.3: logits are not finite in 1 of 4 (direction, prompt) pairs" in summary


def test_a_radius_that_need_not_comply() -> None:
    summary = markdown([measured(min_linearity_radius=0.3)])
    assert ", 0.3 is required<br>" in summary
    assert "| no (allowed) |" in summary
    assert "- r=1.0" not in summary


def test_limits_have_all_their_digits() -> None:
    summary = markdown([measured(cos_threshold=0.999, relerr_threshold=0.005)])
    assert "cosine similarity ≥ 0.999" in summary
    assert "relative error ≤ 0.005" in summary


def test_against_a_baseline() -> None:
    summary = markdown([regressed(measured(slope=0.01))])
    assert summary.startswith("## ❌ linearity: gate.yaml fails")
    assert "- it grew 41%\n- linearity radius 0.3 fell below the baseline's 1.0\n" in summary
    assert "it may grow by 10%); linearity radius 1.0 → 0.3" in summary
    assert "| 1.0 | 0.2200 | 0.3100 | +40.9% | [0.05, 0.13] | regressed |" in summary


def test_several_checkpoints_begin_with_their_series() -> None:
    summary = markdown(series())
    assert summary.startswith(
        "## ❌ linearity: 1 of 3 checkpoints fail\n\n### gate.yaml\n\n| step |"
    )
    assert "| 300 | checkpoint-300 | 0.3 | 0.0215 | 0.0646 | 0.2155 | ❌ no |" in summary
    assert summary.count("<details><summary>✅ checkpoint-") == 2
    assert summary.count("<details open><summary>❌ checkpoint-300") == 1
    assert markdown(series((1, 2))).startswith("## ✅ linearity: all 2 checkpoints pass\n")


def test_several_configs() -> None:
    summary = markdown([measured(name="a.yaml", slope=0.01), measured(name="b.yaml")])
    assert "## ✅ linearity: a.yaml passes" in summary
    assert "## ❌ linearity: b.yaml fails" in summary
    assert "| step |" not in summary


def test_a_checkpoint_that_could_not_be_measured() -> None:
    broken = Failure("gate.yaml", "checkpoint-400", "model.safetensors: cut *short*")
    summary = markdown(series((1, 2)), [broken])
    assert summary.startswith("## ❌ linearity: 1 of 3 checkpoints fail")
    assert "### ❌ gate.yaml: checkpoint-400 could not be measured\n\nReason: model.s" in summary
    assert "\\*short\\*" in summary
    assert markdown([], [broken]).startswith("### ❌ gate.yaml: checkpoint-400 could not")


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "# a",
        "- b",
        "1. c",
        "**d**",
        "~~e~~",
        "a\nb | c",
        "`",
        "\\",
        "|",
        "![x](y)",
        "<!--",
    ],
)
def test_text_from_outside_shows_as_it_is(text: str) -> None:
    cell = f"| a |\n| --- |\n| x {escape(text)} |\n"
    html = RENDER(cell)
    assert html.count("<td>") == 1
    assert shown(html.partition("<td>")[2]) == "x " + " ".join(text.split())


def test_nothing_from_outside_is_markup() -> None:
    result = Result(HOSTILE, HOSTILE, None, measured(path=HOSTILE, default_system=HOSTILE).report)
    html = RENDER(markdown([result], [Failure(HOSTILE, None, HOSTILE)]))
    for tag in ("<script", "<em>", "<a ", "<code>b<"):
        assert tag not in html
    assert html.count("&lt;script&gt;") >= 5
