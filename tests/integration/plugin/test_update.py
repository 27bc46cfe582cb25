"""The fine-tune in its own unit: a test of its own, at the update's own length."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_linearity import Config, analyze, load_checkpoint, load_config, load_probes
from pytest_linearity.probes.logits import last_token_logits
from pytest_linearity.run.analysis import Analysis
from tests.support.checkpoints import tiny_llama
from tests.support.fixtures import Write
from tests.support.oracle import brute_force

GATE = "--linearity-config=gate.yaml"
QUICK = {"prompts": ["1+1=", "what is 2"], "num_directions": 1, "radii": [1e-4], "seed": 3}


def moved(checkpoint: Path, directory: Path, length: float) -> Path:
    """A base from which the checkpoint has moved by a step of this length."""
    tiny_llama(directory)
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (directory / file).write_bytes((checkpoint / file).read_bytes())
    weights = load_file(checkpoint / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    steps = {name: torch.randn(t.shape, generator=generator) for name, t in weights.items()}
    norm = math.sqrt(sum(float(step.double().square().sum()) for step in steps.values()))
    base = {name: weights[name] - length / norm * step for name, step in steps.items()}
    save_file(base, directory / "model.safetensors", {"format": "pt"})
    return directory


def document(pytester: pytest.Pytester) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pytester.path / "linearity_report.json").read_text())
    return found


class TestGate:
    def test_passes_within_the_linear_regime(
        self, pytester: pytest.Pytester, real_config: Write, tiny_checkpoint: Path, tmp_path: Path
    ) -> None:
        base = moved(tiny_checkpoint, tmp_path / "base", 0.01)
        real_config(**QUICK, base_model_name_or_path=str(base))
        result = pytester.runpytest(GATE, "-v", "--junitxml=junit.xml")
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines(["gate.yaml::update PASSED*"])
        said = " ".join(result.stdout.str().split())
        assert "moved 0.01, within its linearity radius along the update, 1.2: in the" in said
        update = document(pytester)["update"]
        assert update["norm"] == pytest.approx(0.01, rel=1e-4)
        assert update["complies"] is True
        assert update["complying_length"] > update["norm"]
        assert update["failing_length"] <= 1.05 * update["complying_length"]
        assert update["in_linearity_radii"] < 1
        assert 'name="update_norm"' in (pytester.path / "junit.xml").read_text()

    def test_fails_outside_of_it_and_leaves_the_rest_alone(
        self, pytester: pytest.Pytester, real_config: Write, tiny_checkpoint: Path, tmp_path: Path
    ) -> None:
        base = moved(tiny_checkpoint, tmp_path / "base", 30.0)
        real_config(**QUICK, base_model_name_or_path=str(base))
        result = pytester.runpytest(GATE, "-rf")
        result.assert_outcomes(passed=2, failed=1)
        result.stdout.fnmatch_lines(
            ["mean relative error * along the update: the fine-tune moved 30, * outside*"]
        )
        update = document(pytester)["update"]
        assert update["complies"] is False
        assert update["failing_length"] < update["norm"]
        assert document(pytester)["passed"] is True

    def test_may_be_switched_off(
        self, pytester: pytest.Pytester, real_config: Write, base_checkpoint: Path
    ) -> None:
        real_config(**QUICK, base_model_name_or_path=str(base_checkpoint), update_gate=False)
        result = pytester.runpytest(GATE)
        result.assert_outcomes(passed=2)
        assert "update" not in document(pytester)

    def test_a_base_of_another_shape_is_a_usage_error_where_it_is_named(
        self, pytester: pytest.Pytester, real_config: Write, tmp_path: Path
    ) -> None:
        tiny_llama(tmp_path / "wide", hidden=48)
        real_config(**QUICK, base_model_name_or_path=str(tmp_path / "wide"))
        result = pytester.runpytest(GATE)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*base_model_name_or_path: * has shape*"])


def test_figures_are_those_of_brute_force(tiny_checkpoint: Path, tmp_path: Path) -> None:
    base = moved(tiny_checkpoint, tmp_path / "base", 2.0)
    path = tmp_path / "c.yaml"
    lines = {**QUICK, "precision": "float64", "base_model_name_or_path": str(base)}
    lines |= {"model_name_or_path": str(tiny_checkpoint)}
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items()))
    config = load_config(path)
    update = analyze(config).update
    assert update is not None
    checkpoint = load_checkpoint(config)
    probes = load_probes(config, checkpoint.tokenizer, max_length=checkpoint.max_length)
    bases, weights = (load_file(p / "model.safetensors") for p in (base, tiny_checkpoint))
    difference = {n: (bases[n].double() - weights[n].double()) for n in weights}
    norm = math.sqrt(sum(float(d.square().sum()) for d in difference.values()))
    assert update.norm == pytest.approx(norm, rel=1e-12)
    delta = {name: d / norm for name, d in difference.items()}

    def run(twin: torch.nn.Module) -> torch.Tensor:
        return torch.cat([last_token_logits(twin, batch)() for batch in probes.batches])

    truth = brute_force(checkpoint.model, run, [delta], [norm])
    error, cosine = truth.relative_error([norm]), truth.cosine_similarity([norm])
    # The direction is float32: its entries are off by 1e-7.
    assert update.mean_relative_error == pytest.approx(float(error.mean()), rel=1e-5)
    assert update.mean_cosine_similarity == pytest.approx(float(cosine.mean()), rel=1e-6)
    assert update.complying_length is not None
    assert update.failing_length is not None
    for length, side in ((update.complying_length, True), (update.failing_length, False)):
        at = brute_force(checkpoint.model, run, [delta], [length])
        within = float(at.relative_error([length]).mean()) <= 0.2
        within &= float(at.cosine_similarity([length]).mean()) >= 0.95
        assert within is side


def test_prompts_are_in_their_order_however_they_are_batched(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The shorter prompt comes last, and is measured first."""
    base = moved(tiny_checkpoint, tmp_path / "base", 2.0)

    def errors(*prompts: str) -> torch.Tensor:
        config = Config(
            model_name_or_path=str(tiny_checkpoint),
            base_model_name_or_path=str(base),
            **{**QUICK, "prompts": prompts, "precision": "float64", "batch_size": 1},
        )
        update = Analysis(config).findings.update
        assert update is not None
        assert update.measurement is not None
        return update.measurement.relative_error[0, 0]

    long, short = "what is 2", "1+1="
    both = errors(long, short)
    # A batch's logits may be rounded otherwise than another's.
    torch.testing.assert_close(both, torch.cat([errors(long), errors(short)]), rtol=1e-9, atol=0)
    assert both[0] != pytest.approx(float(both[1]), rel=1e-2)


class TestABaseThatTrainingHasNamed:
    @pytest.fixture
    def tuned(self, tiny_checkpoint: Path, tmp_path: Path) -> Path:
        moved(tiny_checkpoint, tmp_path / "base", 0.01)
        tuned = tmp_path / "run" / "checkpoint-5"
        tuned.mkdir(parents=True)
        for file in tiny_checkpoint.iterdir():
            (tuned / file.name).write_bytes(file.read_bytes())
        return tuned

    def outcome(
        self, pytester: pytest.Pytester, write_config: Write, tuned: Path
    ) -> pytest.RunResult:
        write_config(**QUICK, model_name_or_path=str(tuned))
        return pytester.runpytest(GATE, "-v", "-rs")

    @pytest.mark.parametrize("beside", [True, False], ids=["beside", "above"])
    def test_by_a_model_card(
        self,
        pytester: pytest.Pytester,
        write_config: Write,
        tuned: Path,
        tmp_path: Path,
        beside: bool,
    ) -> None:
        card = (tuned if beside else tuned.parent) / "README.md"
        card.write_text(f"---\nlicense: mit\nbase_model: {tmp_path / 'base'}\n---\n# A model\n")
        self.outcome(pytester, write_config, tuned).assert_outcomes(passed=3)
        assert document(pytester)["update"]["named_by"] == "README.md"

    def test_by_its_config(
        self, pytester: pytest.Pytester, write_config: Write, tuned: Path, tmp_path: Path
    ) -> None:
        declared = json.loads((tuned / "config.json").read_text())
        declared["_name_or_path"] = str(tmp_path / "base")
        (tuned / "config.json").write_text(json.dumps(declared))
        self.outcome(pytester, write_config, tuned).assert_outcomes(passed=3)
        assert document(pytester)["update"]["named_by"] == "config.json"

    @pytest.mark.parametrize(
        "card", ["---\nbase_model: some/model-that-is-not-cached\n---\n", "---\n: {\n---\n", "\0"]
    )
    def test_what_is_not_at_hand_is_let_be(
        self, pytester: pytest.Pytester, write_config: Write, tuned: Path, card: str
    ) -> None:
        (tuned / "README.md").write_text(card)
        self.outcome(pytester, write_config, tuned).assert_outcomes(passed=2)

    def test_itself_is_none(
        self, pytester: pytest.Pytester, write_config: Write, tuned: Path
    ) -> None:
        (tuned / "README.md").write_text(f"---\nbase_model: {tuned}\n---\n")
        self.outcome(pytester, write_config, tuned).assert_outcomes(passed=2)

    def test_one_that_does_not_fit_is_a_reason_to_skip(
        self, pytester: pytest.Pytester, write_config: Write, tuned: Path, tmp_path: Path
    ) -> None:
        tiny_llama(tmp_path / "wide", hidden=48)
        (tuned / "README.md").write_text(f"---\nbase_model: [{tmp_path / 'wide'}]\n---\n")
        result = self.outcome(pytester, write_config, tuned)
        result.assert_outcomes(passed=2, skipped=1)
        result.stdout.fnmatch_lines(["SKIPPED * the update from * is not measured: *has shape*"])
        assert document(pytester)["update"]["complies"] is None


def test_its_length_is_a_unit_of_radii(
    pytester: pytest.Pytester, real_config: Write, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    base = moved(tiny_checkpoint, tmp_path / "base", 0.02)
    keys = {**QUICK, "radii": [1], "base_model_name_or_path": str(base)}
    real_config(**keys, radius_unit="update", directions=["-update", "gaussian"], update_gate=False)
    pytester.runpytest(GATE).assert_outcomes(passed=2)
    (figures,) = document(pytester)["metrics"].values()
    assert figures["radius_absolute"] == pytest.approx(0.02, rel=1e-4)
    assert figures["radius_in_updates"] == pytest.approx(1.0)


def test_the_unit_needs_a_base(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(**{**QUICK, "radius_unit": "update"})
    result = pytester.runpytest(GATE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*base_model_name_or_path: is missing: radius_unit update needs the model*"]
    )
