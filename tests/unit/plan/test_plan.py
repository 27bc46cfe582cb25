"""A plan, counted against what runs do, and against closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pytest_linearity import Config, plan
from pytest_linearity.errors import CheckpointError
from pytest_linearity.plan import plan_of
from pytest_linearity.plan.table import amount, duration
from pytest_linearity.run.analysis import Analysis
from tests.support.checkpoints import tiny_llama

PROMPTS = ("What is 2 plus 2?", "Hi", "A longer prompt than the others.")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("plan") / "tiny", dtype=torch.bfloat16)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates of this machine from two tries each: what is asserted does not depend on them."""
    monkeypatch.setattr(plan.machine, "_SECONDS", 0)


def config(checkpoint: Path, **keys: object) -> Config:
    defaults = {"prompts": PROMPTS, "num_directions": 3, "radii": (0.1, 1.0), "batch_size": 2}
    return Config(
        model_name_or_path=str(checkpoint), **{"precision": "float32", **defaults, **keys}
    )


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"precision": "float64"},
        {"second_order": True},
        {"second_order": True, "precision": "float64"},
        {"param_scope": "last_blocks:1"},
        {"directions": ("gaussian", "rademacher")},
    ],
)
def test_evaluations_are_those_of_the_run(checkpoint: Path, keys: dict[str, object]) -> None:
    asked = config(checkpoint, **keys)
    (case,) = plan_of(asked, timed=False).cases
    assert case.evaluations == Analysis(asked).measurement.evaluations
    assert case.directions == (6 if "directions" in keys else 3)
    assert case.seconds is None


def test_the_checkpoint_is_known_by_its_headers(checkpoint: Path) -> None:
    planned = plan_of(config(checkpoint), timed=False)
    loaded = Analysis(config(checkpoint)).subject.checkpoint
    assert planned.at_hand
    assert (planned.parameters, planned.dtype) == (loaded.parameters, "bfloat16")
    assert planned.stored_bytes == 2 * loaded.parameters
    assert (planned.prompts, planned.assumed_prompts) == (3, False)
    # Two prompts of up to 18 tokens, padded, and one of 33; all begin with <bos>.
    assert planned.tokens == 2 * 18 + 33


def test_operations_have_a_closed_form(tmp_path: Path) -> None:
    alone = tmp_path / "config.json"
    hidden, mlp, layers, vocabulary = 64, 96, 3, 500
    alone.write_text(
        json.dumps(
            {
                "model_type": "llama",
                "hidden_size": hidden,
                "intermediate_size": mlp,
                "num_hidden_layers": layers,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "vocab_size": vocabulary,
            }
        )
    )
    asked = Config(
        model_name_or_path=str(alone), num_directions=1, radii=(1.0,), precision="float32"
    )
    planned = plan_of(asked, prompts=8, tokens=40, timed=False)
    (case,) = planned.cases
    assert not planned.at_hand
    assert planned.assumed_prompts
    assert case.evaluations == 3
    tokens, prompts = 8 * 40, 8
    block = 4 * hidden * hidden + 3 * hidden * mlp
    # Of the last block all but keys and values matter for the last tokens alone.
    tail = block - 2 * hidden * hidden + hidden * vocabulary
    # Baseline, step, and for the JVP dx W and x δ; with few rows r x δ is a product of its own.
    whole = 4 * tokens * ((layers - 1) * block + 2 * hidden * hidden)
    expected = 2 * (whole + 5 * prompts * tail)
    assert case.flops == pytest.approx(expected, rel=1e-6)


def test_auto_has_a_least_and_a_most(checkpoint: Path) -> None:
    least, most = plan_of(config(checkpoint, precision="auto"), timed=False).cases
    assert (least.precision, most.precision) == ("float32", "float32, then float64")
    assert most.evaluations == 2 * least.evaluations
    assert most.bytes_read > least.bytes_read


def test_rounds_of_directions_have_a_least_and_a_most(checkpoint: Path) -> None:
    asked = config(checkpoint, num_directions={"min": 2, "max": 7})
    least, most = plan_of(asked, timed=False).cases
    assert (least.directions, most.directions) == (2, 7)
    assert least.evaluations == 2 * (1 + 2 * 3)
    assert most.evaluations == 2 * sum(1 + 3 * new for new in (2, 2, 3))


def test_several_scopes_share_their_baselines(checkpoint: Path) -> None:
    planned = plan_of(config(checkpoint, param_scopes=("full", "attention")), timed=False)
    assert list(planned.scopes) == ["full", "attention"]
    assert planned.scopes["attention"] < planned.scopes["full"]
    assert planned.cases[0].evaluations == 2 * (1 + 2 * 3 * 3)


@pytest.mark.usefixtures("hurried")
def test_ranks_share_the_directions(checkpoint: Path) -> None:
    asked = config(checkpoint, num_directions=8)
    one = plan_of(asked, timed=False).cases[0]
    four = plan_of(asked, ranks=4, timed=True).cases[0]
    assert four.evaluations == one.evaluations + 3 * 2
    assert four.flops > one.flops
    assert four.seconds is not None
    assert four.seconds > 0
    assert four.peak_memory <= one.peak_memory + (50 << 20)


def test_a_scope_that_begins_late_costs_less(checkpoint: Path) -> None:
    full, late = (
        plan_of(config(checkpoint, param_scope=scope), timed=False).cases[0]
        for scope in ("full", "last_blocks:1")
    )
    assert late.flops < 0.8 * full.flops


def test_no_weights_are_read(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr("pytest_linearity.checkpoint.load.load_checkpoint", refuse)
    monkeypatch.setattr(safetensors.safe_open, "get_tensor", refuse, raising=False)
    assert plan_of(config(checkpoint), timed=False).parameters > 0


def test_a_model_whose_forward_fails_is_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(plan.forecast, "follow", fail)
    with pytest.raises(CheckpointError, match="its forward does not run: no such kernel"):
        plan_of(config(checkpoint), timed=False)


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (16.06e9, "16.1 GB")]
)
def test_amounts(number: float, shown: str) -> None:
    assert amount(number, "B") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(3.21, "3.2 s"), (59, "59 s"), (125, "2 min 5 s"), (7500, "2 h 5 min"), (9e5, "10 days")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
