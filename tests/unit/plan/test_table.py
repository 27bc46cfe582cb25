"""A plan as a table."""

from __future__ import annotations

from pytest_linearity.plan.forecast import Case, Plan
from pytest_linearity.plan.table import render
from pytest_linearity.report.style import Style

LEAST = Case("float32", 8, 82, 28.4e9, 12_000_000, 54_000_000, None)
MOST = Case("float32, then float64", 8, 164, 56.8e9, 24_000_000, 108_000_000, None)
PLAN = Plan(
    architecture="LlamaForCausalLM",
    parameters=805_000,
    stored_bytes=1_610_000,
    dtype="bfloat16",
    at_hand=True,
    scopes={"full": 805_000},
    prompts=16,
    tokens=456,
    assumed_prompts=False,
    shared_prefix=0,
    ranks=1,
    device="cpu",
    more_radii=0,
    cases=(LEAST, MOST),
)


def test_both_cases_stand_side_by_side() -> None:
    assert render(PLAN, "plan of gate.yaml", Style(encoding="ascii")) == (
        "plan of gate.yaml\n"
        "\n"
        "                              at least                 at most\n"
        " --------------------------------------------------------------\n"
        "  arithmetic                   float32   float32, then float64\n"
        "  directions                         8                       8\n"
        "  evaluations                       82                     164\n"
        "  floating-point operations     28.4 G                  56.8 G\n"
        "  bytes read                     12 MB                   24 MB\n"
        "  peak memory                    54 MB                  108 MB\n"
        "\n"
        "LlamaForCausalLM, 805 k parameters, bfloat16, 1.61 MB\n"
        "scope: full (100%)\n"
        "16 prompts, 456 tokens (read)\n"
        "on cpu\n"
    )
